"""A simulated AWS, a copy of the repository beside it, and make targets that run there.

Everything runs on a copy, so that the person's own Terraform folders, plans and states stay as they are. What is done in
it is in steps.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops import layers, project
from ops.errors import OpsError
from ops.rehearsal import edits, image, machine, sign_in
from ops.rehearsal.attempts import Attempted
from ops.rehearsal.claims.claim import Result
from ops.rehearsal.claims.ways import Row
from ops.rehearsal.deployed import Platform, client
from ops.rehearsal.iam.usage import Usage
from ops.rehearsal.progress import Bar, Progress
from ops.rehearsal.receiver import Mailbox, Receiver
from ops.rehearsal.sign_in import ADMINISTRATOR, Job, Keys, Profiles, administrator, administrator_of, administrators
from ops.terraform import Layer

# The layer of the images here.
LAYER = b"nothing"
# How long IAM does not see the tags of a new key: on AWS up to five minutes. Half a minute is longer than Terraform takes to
# give a key its rotation, its alias and its database, so that all of these meet it without its tags.
TAG_LAG_SECONDS = 30


class FailedError(Exception):
    """A step did not do what it should; the message says what and why."""


@dataclasses.dataclass
class Findings:
    """What a rehearsal found, for the report."""

    results: list[Result] = dataclasses.field(default_factory=list)
    rows: list[Row] = dataclasses.field(default_factory=list)
    attempts: list[Attempted] = dataclasses.field(default_factory=list)
    usage: Usage = dataclasses.field(default_factory=Usage)
    notes: list[str] = dataclasses.field(default_factory=list)
    limits: list[str] = dataclasses.field(default_factory=list)
    peak_memory: int = 0
    proved_after: float = 0
    error: str | None = None


class Rehearsal:
    """A simulated AWS, a copy of the repository in it, and the steps.

    Args:
        render: the rendered repository.
        environment: name of the environment; None takes the first.
        progress: where steps are shown.

    """

    def __init__(self, render: Path, environment: str | None, progress: Progress) -> None:
        self.render = render
        try:
            self.project = project.load(environment or project.load(root=render).environments[0], root=render)
        except OpsError as error:
            raise machine.UnusableError(str(error)) from error
        nameless = [account for account, settings in self.project.accounts.items() if not settings["profile"]]
        if nameless and len(self.project.accounts) > 1:
            raise machine.UnusableError(
                f"project.yaml names no aws_profile for account {' and '.join(nameless)}: what spans accounts, as make"
                " destroy does, takes each one's."
            )
        regions = {settings["region"] for settings in self.project.accounts.values()}
        if len(regions) > 1:
            raise machine.UnusableError(
                f"The simulated AWS has one region; project.yaml names {' and '.join(sorted(regions))}."
            )
        self.environment = str(self.project.environment)
        self.progress = progress
        self.findings = Findings()
        self.receiver: Receiver | None = None
        self.commands: set[subprocess.Popen[str]] = set()
        self.simulator: subprocess.Popen[bytes] | None = None
        self.images = [manifest(number) for number in range(2)]
        self._ended = threading.Event()
        self.gave_up = threading.Event()  # a step failed: what waits beside it need not
        self._journal_read = 0
        self._journal_lock = threading.Lock()
        self._keys: dict[Job, Keys] = {}
        self._signing = threading.Lock()

    # The run's own machinery.

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; stop and remove everything at the end, however it comes."""
        self.directory: machine.Directory = machine.RunDirectory()
        self.copy = self.directory.path / self.render.name
        self.mailbox = Mailbox(self.directory.path / "messages.jsonl")
        try:
            with self.progress.step("prepare") as bar:
                self._prepare()
                bar.detail = f"simulated AWS at {self.endpoint}"
            yield
        finally:
            self._ended.set()
            self._stop()

    def _prepare(self) -> None:
        machine.copy_render(self.render, self.copy)
        edits.trust_region(self.copy, self.project.region)
        provider = machine.provider_settings(self.directory.path)
        built = self._build()
        self.receiver = Receiver(self.mailbox)
        settings = self.directory.path / "settings.json"
        home = self.project.registry["account_id"]
        settings.write_text(
            json.dumps(
                {
                    "directory": str(self.directory.path),
                    "account_id": home,
                    "accounts": [account for account in self.project.accounts if account != home],
                    "region": self.project.region,
                    "render": str(self.copy),
                    "image": self.images[0],
                    "image_files": str(built) if built else None,
                    "port": 0,
                    "receiver": self.receiver.url,
                    "tag_lag_seconds": TAG_LAG_SECONDS,
                }
            ),
            encoding="utf-8",
        )
        errors = (self.directory.path / "simulator.log").open("w", encoding="utf-8")
        self.simulator = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "ops.rehearsal.simulator", str(settings)],
            cwd=self.copy,
            env=_temporary(self.directory.path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        self.directory.record(self.simulator.pid)
        ready = self.simulator.stdout.readline().decode() if self.simulator.stdout else ""
        if not ready.startswith("ready"):
            log = (self.directory.path / "simulator.log").read_text(encoding="utf-8")
            raise FailedError(f"The simulator did not start:\n{log[-3000:]}")
        self.endpoint = f"http://127.0.0.1:{ready.split()[1]}"
        self.variables = _environment(self.endpoint, self.project.region) | provider
        threading.Thread(target=self._watch, daemon=True).start()

    def _build(self) -> Path | None:
        """Build the image where that can be done here; returns the files of the service in it."""
        target = self.directory.path / "image"
        try:
            program = image.build(self.copy, target)
        except image.NotBuiltError as why:
            self.findings.limits.append(
                f"The image was not built: {why}. Tasks run the files that .dockerignore admits, on this machine's Python."
            )
            return None
        except image.BrokenError as error:
            raise FailedError(f"The image does not build. {error}") from error
        self.findings.notes.append(f"The image was built with {program}.")
        self.findings.limits.append(
            "Tasks run the files that are in the image on this machine's Python, processor and packages."
        )
        return target

    def rebuild(self) -> None:
        """Build the image again, where the run's tasks are from one."""
        target = self.directory.path / "image"
        if target.exists():
            with self.progress.step("build the image"):
                shutil.rmtree(target)
                self._build()

    def _watch(self, attached: bool = False) -> None:
        """Count calls, measure memory, and stop everything at once when the simulator lacks a call."""
        if attached:
            self._journal_read = (self.directory.path / "journal.jsonl").stat().st_size
        measured = 0.0
        while not self._ended.wait(0.2):
            self._read_journal()
            if time.monotonic() - measured > 2:
                used = machine.memory_of(os.getpid())
                self.findings.peak_memory = max(self.findings.peak_memory, used)
                measured = time.monotonic()

    def _read_journal(self) -> None:
        """Read what the simulator wrote since the last look."""
        journal = self.directory.path / "journal.jsonl"
        with self._journal_lock:
            if not journal.exists():
                return
            with journal.open(encoding="utf-8") as file:
                file.seek(self._journal_read)
                # What comes after a line that is still being written is its rest.
                lines = list(itertools.takewhile(lambda line: line.endswith("\n"), file))
            self._journal_read += sum(len(line.encode()) for line in lines)
            self.progress.calls += len(lines)
            for record in map(json.loads, lines):
                if "problem" in record and self.findings.error is None:
                    self.findings.error = _lack(record)
                    self.interrupt_commands()

    def interrupt_commands(self) -> None:
        """Stop what runs, as Ctrl-C does."""
        for command in list(self.commands):
            machine.stop_group(command.pid, signal.SIGINT)

    def _stop(self) -> None:
        for number, seconds in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
            for command in list(self.commands):
                machine.stop_group(command.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.wait(seconds)
        if self.simulator is not None and self.simulator.stdin is not None:
            self.simulator.stdin.close()  # it stops its tasks and databases, and ends
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.simulator.wait(20)
            machine.stop_group(self.simulator.pid, signal.SIGKILL)
        if self.receiver is not None:
            self.receiver.stop()
        self.directory.remove()

    def attach(self, directory: Path, endpoint: str, variables: Mapping[str, str]) -> None:
        """Work in a rehearsal that another process keeps."""
        self.directory = machine.Directory(directory)
        self.copy = directory / self.render.name
        self.mailbox = Mailbox(directory / "messages.jsonl")
        self.endpoint = endpoint
        self.variables = _environment(endpoint, self.project.region) | dict(variables)
        threading.Thread(target=self._watch, args=(True,), daemon=True).start()

    def detach(self) -> None:
        """Leave the kept rehearsal as it is."""
        self._ended.set()

    def keep_logs(self) -> None:
        """Copy what was said into the report's folder, for the search after a failure."""
        target = self.render / "ops" / "rehearsal" / "report" / "logs"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for pattern in ("*.log", "journal.jsonl", "tasks.jsonl", "deliveries.jsonl"):
            for file in self.directory.path.glob(pattern):
                shutil.copy(file, target)

    def make(
        self,
        bar: Bar,
        *words: str,
        keys: Keys | Profiles | None = None,
        given: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Run `make …` in the copy with somebody's keys (the account's administrator's) and show its lines; returns its output.

        Raises FailedError with what the command said, or with the call that the simulator lacks.
        """
        keys = keys or administrator(self.project)
        command = subprocess.Popen(  # noqa: S603 - the targets of this repository
            [shutil.which("make") or "make", "--no-print-directory", *words],
            cwd=self.copy,
            env=self.variables | keys.variables | dict(variables or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self.commands.add(command)
        self.directory.record(command.pid)
        lines: list[str] = []
        with (self.directory.path / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ make {' '.join(words)}  # as {keys.name}\n")
            if command.stdin is not None:
                command.stdin.write(given)
                command.stdin.close()
            for line in command.stdout or ():
                log.write(line)
                lines.append(line)
                self.progress.line(bar, line)
        status = command.wait()
        self.commands.discard(command)
        output = "".join(lines)
        self._read_journal()
        if self.findings.error:
            raise FailedError(self.findings.error)
        if status != 0:
            raise FailedError(f"make {' '.join(words)} failed, run as {keys.name}:\n{_said(output)}")
        return output

    # Who does it.

    def sign_in(self, bar: Bar, job: Job) -> Keys:
        """Return the keys that a job of GitHub gets; the same for as long as they last."""
        with self._signing:
            if job not in self._keys:
                outputs = self.directory.path / f"github-output-{len(self._keys)}"
                asked = {"ENV": job.environment, "ROLE": job.role, "GITHUB_OUTPUT": str(outputs)}
                self.make(bar, "github-settings", variables=asked)
                lines = outputs.read_text(encoding="utf-8").splitlines()
                settings = dict(line.partition("=")[::2] for line in lines)
                try:
                    self._keys[job] = sign_in.assume(
                        job,
                        settings,
                        self.directory.path,
                        prefix=str(self.project.settings["github_oidc_subject_prefix"]),
                        endpoint=self.endpoint,
                        seconds=sign_in.session_seconds(self.copy, job.role),
                    )
                except (ClientError, ValueError) as error:
                    raise FailedError(f"A job that asks for {job.name} gets no keys: {error}") from error
            return self._keys[job]

    # What steps use.

    @property
    def file(self) -> Path:
        """project.yaml of the copy."""
        return self.copy / "project.yaml"

    def client(self, service: str, keys: Keys | None = None) -> Any:
        """Return a boto3 client of the simulator, with the keys of the account's administrator where none are given."""
        return client(service, self.project.region, self.endpoint, keys or administrator(self.project))

    def client_of(self, service: str, account: str) -> Any:
        """Return a boto3 client with the keys of an account's administrator."""
        return client(service, self.project.region, self.endpoint, administrator_of(self.project, account))

    def administrators(self) -> Keys | Profiles:
        """Return who does what spans accounts."""
        return administrators(self.project, self.directory.path / "administrators")

    def layers(self) -> list[Layer]:
        """The layers that this repository has."""
        return layers.present(self.project)

    def platform(self) -> Platform:
        """Return the platform as it is now; nothing is remembered from an earlier one."""
        try:
            return Platform(project.load(self.environment, root=self.copy), self.endpoint)
        except OpsError as error:
            raise FailedError(str(error)) from error

    def notes(self, name: str) -> list[dict[str, Any]]:
        """Return what the simulator wrote into one of the run's files, the oldest first."""
        file = self.directory.path / f"{name}.jsonl"
        whole = file.read_text(encoding="utf-8").rpartition("\n")[0] if file.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def task_users(self) -> set[int | None]:
        """Return the users as whom tasks ran here; None is the one who rehearses."""
        files = [f for f in self.directory.path.glob("task-*.json") if not f.name.endswith(".environment.json")]
        return {json.loads(file.read_text(encoding="utf-8"))["user"] for file in files}

    def at_the_same_time(self, first: Callable[[], None], *others: Callable[[], None]) -> None:
        """Run steps beside each other; when one fails, what runs is stopped and its error is raised.

        The first one runs in this thread, where Ctrl-C ends it wherever it is.
        """
        with ThreadPoolExecutor(max(1, len(others))) as pool:
            running = [pool.submit(step) for step in others]
            try:
                first()
                for done in as_completed(running):
                    done.result()
            except BaseException:
                self.gave_up.set()
                self.interrupt_commands()
                raise


def _environment(endpoint: str, region: str) -> dict[str, str]:
    """Return the variables that lead Terraform, boto3 and the AWS CLI to the simulator, and nothing of AWS."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "MAKE")) and name != "MFLAGS"
    }
    return kept | {
        "AWS_ENDPOINT_URL": endpoint,
        **ADMINISTRATOR.variables,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # S3 Control puts the account before the host's name: such a call finds the simulator as a proxy.
        "HTTP_PROXY": endpoint,
        "NO_PROXY": "127.0.0.1,localhost",
        # Go's collector runs more often above this, so that all of Terraform's processes together stay below 4 GB.
        "GOMEMLIMIT": "600MiB",
    }


def _temporary(directory: Path) -> dict[str, str]:
    """Return this environment, with temporary files in the run's directory.

    Not where its path is so long that a Unix socket below it would not fit into 104 bytes.
    """
    short = len(str(directory)) < 50
    return dict(os.environ) | ({"TMPDIR": str(directory)} if short else {})


def manifest(number: int) -> str:
    """Return the manifest of an image with one layer that holds nothing: its files are the repository's."""
    config = f"rehearsal {number}".encode()
    kind = "application/vnd.oci.image"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": f"{kind}.layer.v1.tar+gzip", "digest": digest(LAYER), "size": len(LAYER)}],
        }
    )


def digest(content: str | bytes) -> str:
    """Return the digest of a layer, or of an image by its manifest."""
    data = content.encode() if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _lack(record: Mapping[str, Any]) -> str:
    problem = str(record["problem"])
    if problem == "SimulatorLacksThisCall":
        return (
            f"The simulator has no {record['service']} {record['call']}. Add it to "
            "ops/rehearsal/simulator/moto_additions, or do without it."
        )
    reason = problem.removeprefix("SimulatorFailed: ")
    return f"The simulator failed at {record['service']} {record['call']}: {reason}"


def _said(output: str) -> str:
    """Return the error in a command's output: from the last line that begins with Error, or its end."""
    lines = output.rstrip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Error")]
    return "\n".join(lines[starts[-1] :] if starts else lines[-25:])
