"""One rehearsal from beginning to end: the commands a person types, and what is proved between them.

Everything runs on a copy of the repository, so that the person's own Terraform folders, plans and states
stay as they are; the copy differs in nothing but what `change` edits in project.yaml on purpose.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops.rehearsal import machine
from ops.rehearsal.deployed import Platform, client
from ops.rehearsal.progress import Bar, Progress
from ops.rehearsal.proofs import Context, Result, Row, prove, reachable
from ops.rehearsal.receiver import Mailbox, Receiver

LAYERS = ("account", "network", "build-repository", "database", "service")
SHARED = ("account", "build-repository")  # by all environments
# Where alarms go in the rehearsal: URLs of the form that each service hands out. Nobody there hears of it.
INCIDENT_URLS = {
    "pagerduty": "https://events.pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue",
    "splunk-on-call": "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/"
    "01234567-89ab-cdef-0123-456789abcdef/rehearsal",
    "email": "on-call@example.com",
}
# The proofs that one layer alone can pass.
PROOFS_OF = {
    "account": ("GitHub", "Terraform locks", "Least privilege", "Names"),
    "network": ("VPC network", "Names"),
    "build-repository": ("Names",),
    "database": (
        "Aurora PostgreSQL database",
        "Database role manager",
        "Database roles",
        "Least privilege",
        "Names",
    ),
}
PERCENT, USERS = 30, 200


class FailedError(Exception):
    """A step did not do what it should; the message says what and why."""


@dataclass
class Findings:
    """What a rehearsal found, for the report."""

    results: list[Result] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resources: int = 0
    peak_memory: int = 0
    proved_after: float = 0
    error: str | None = None


class Rehearsal:
    """A simulated AWS, a copy of the repository in it, and the steps.

    Args:
        render: the rendered repository.
        environment: name of the environment; None takes the first of project.yaml.
        progress: where steps are shown.

    """

    def __init__(self, render: Path, environment: str | None, progress: Progress) -> None:
        self.render = render
        self.project = yaml.safe_load((render / "project.yaml").read_text(encoding="utf-8"))
        names = list(self.project["environments"])
        if environment is not None and environment not in names:
            raise machine.UnusableError(f"There is no environment {environment}: one of {', '.join(names)}")
        self.environment = environment or names[0]
        self.app = str(self.project["app_name"])
        self.progress = progress
        self.findings = Findings()
        self.receiver: Receiver | None = None
        self.commands: set[subprocess.Popen[str]] = set()
        self.simulator: subprocess.Popen[bytes] | None = None
        self.images = [_manifest(number) for number in range(2)]
        self._ended = threading.Event()
        self._journal_read = 0
        self._journal_lock = threading.Lock()
        self._evaluated: tuple[str, dict[str, Any]] | None = None
        self._port: int | None = None

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
        provider = machine.provider_settings(self.directory.path)
        self.receiver = Receiver(self.mailbox)
        settings = self.directory.path / "settings.json"
        settings.write_text(
            json.dumps(
                {
                    "directory": str(self.directory.path),
                    "account_id": str(self.project["aws_account_id"]),
                    "region": str(self.project["aws_region"]),
                    "render": str(self.copy),
                    "image": self.images[0],
                    "port": 0,
                    "receiver": self.receiver.url,
                }
            ),
            encoding="utf-8",
        )
        errors = (self.directory.path / "simulator.log").open("w")
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
        self.variables = _environment(self.endpoint, str(self.project["aws_region"])) | provider
        threading.Thread(target=self._watch, daemon=True).start()

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
                lines = [line for line in file if line.endswith("\n")]
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
        self.variables = _environment(endpoint, str(self.project["aws_region"])) | dict(variables)
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

    def make(self, bar: Bar, *words: str, given: str = "") -> str:
        """Run `make …` in the copy and show its lines; returns its output.

        Raises FailedError with what the command said, or with the call that the simulator lacks.
        """
        command = subprocess.Popen(  # noqa: S603 - the targets of this repository
            [shutil.which("make") or "make", "--no-print-directory", *words],
            cwd=self.copy,
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.commands.add(command)
        self.directory.record(command.pid)
        lines: list[str] = []
        with (self.directory.path / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ make {' '.join(words)}\n")
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
            raise FailedError(f"make {' '.join(words)} failed:\n{_said(output)}")
        return output

    # Steps.

    def bootstrap(self) -> None:
        """Make the account layer; its command also tries the state's locks."""
        with self.progress.step("make bootstrap") as bar:
            output = self.make(bar, "bootstrap", "YES=1")
            respected = re.search(r"respected: (.*?) \(", output)
            if respected is None:
                raise FailedError("make bootstrap did not try the locks of the state.")
            bar.detail = f"locks respected: {respected[1]}"

    def zone(self) -> None:
        """Make the Route 53 zone that a project with a domain expects in the account."""
        if domain := str(self.project.get("domain_name") or ""):
            route53 = self.client("route53")
            if not route53.list_hosted_zones_by_name(DNSName=domain, MaxItems="1")["HostedZones"]:
                route53.create_hosted_zone(Name=domain, CallerReference="rehearsal")

    def incident_url(self) -> None:
        """Type the incident service's URL."""
        url = INCIDENT_URLS.get(str(self.project["incident_management"]))
        if url is not None:
            with self.progress.step("make incident-url") as bar:
                self.make(bar, "incident-url", f"ENV={self.environment}", given=f"{url}\n")

    def up(self) -> None:
        """Bring the environment up with the first image."""
        with self.progress.step(f"make up ENV={self.environment}") as bar:
            image = f"IMAGE={_digest(self.images[0])}"
            self.make(bar, "up", f"ENV={self.environment}", image, "YES=1")

    def apply(self, layer: str) -> None:
        """Apply one layer."""
        if layer not in self.layers():
            raise FailedError(f"This repository has no layer {layer}: {', '.join(self.layers())}")
        with self.progress.step(f"make apply LAYER={layer}") as bar:
            if layer == "account":
                self.make(bar, "bootstrap", "YES=1")
            elif layer in SHARED:
                self.make(bar, "apply", f"LAYER={layer}", "YES=1")
            elif layer == "service" and not self.platform().service:
                image = f"IMAGE={_digest(self.images[0])}"
                self.make(bar, "up", f"ENV={self.environment}", image, "YES=1")
            else:
                self.make(bar, "apply", f"LAYER={layer}", f"ENV={self.environment}", "YES=1")
        if layer == "service":
            self._settle()

    def _settle(self) -> None:
        """Wait until the deployment that an apply began is over, and fail with what its tasks said."""
        name = self.platform().names["service"]
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            service = self.platform().service
            newest = self.platform().task_definition(name)["taskDefinitionArn"]
            state = service["deployments"][0]["rolloutState"]
            if state == "FAILED" or service["taskDefinition"] != newest:
                raise FailedError(f"The deployment of {newest.rpartition('/')[2]} failed:\n{self._last_task()}")
            if state == "COMPLETED" and service["runningCount"] == service["desiredCount"]:
                return
            time.sleep(0.3)
        raise FailedError(f"{name} was still being deployed after two minutes.\n{self._last_task()}")

    def _last_task(self) -> str:
        """Return why the last task ended, and the end of its log."""
        file = self.directory.path / "tasks.jsonl"
        if not file.exists():
            return "No task has ended."
        task = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
        log = self.directory.path / f"task-{task['task'].rpartition('/')[2][:8]}.log"
        said = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
        code = "" if task["exit_code"] is None else f" (exit code {task['exit_code']})"
        return f"{task['reason']}{code}\n{said}"

    def up_to(self, last: str) -> None:
        """Apply the layers up to one of them, and prove what that one makes."""
        if last not in self.layers():
            raise FailedError(f"ONLY={last}: this repository has {', '.join(self.layers())}")
        for layer in self.layers():
            # The account layer is there, and only the database needs another one.
            if layer == last != "account" or (layer == "network" and last == "database"):
                self.apply(layer)
        self.prove(PROOFS_OF.get(last, ()))

    def _flag(self) -> str | None:
        """Return the first flag that can be launched to a part of the users."""
        file = self.copy / "app" / "flags.json"
        if self.project["feature_flags"] == "none" or not file.exists():
            return None
        flags = json.loads(file.read_text(encoding="utf-8"))["flags"]
        return next((n for n, flag in flags.items() if "percent" in flag.get("attributes", {})), None)

    def launch(self) -> None:
        """Launch a flag to a part of the users; the service sees it at its next look."""
        if (flag := self._flag()) is not None:
            with self.progress.step(f"make flag {flag} to {PERCENT} %") as bar:
                self.make(
                    bar, "flag", f"ENV={self.environment}", f"NAME={flag}", "ENABLED=true",
                    f"PERCENT={PERCENT}", "IMMEDIATE=1",
                )  # fmt: skip

    def prove(self, only: Sequence[str] | None = None) -> None:
        """Check every claim about the components, and compute who can reach what."""
        with self.progress.step("prove") as bar:
            platform = self.platform()
            context = Context(platform, self.mailbox, self.directory.path)
            self.findings.results = prove(context, only)
            with contextlib.suppress(Exception):
                self.findings.rows = reachable(platform)
            claims = [c for result in self.findings.results for c in result.claims]
            broken = [
                f"{result.component}: {claim.text} — {claim.detail}"
                for result in self.findings.results
                for claim in result.claims
                if not claim.holds
            ]
            self.findings.notes += self._differences()
            if self.findings.error:
                raise FailedError(self.findings.error)
            if broken:
                raise FailedError("These do not hold:\n" + "\n".join(f"  {line}" for line in broken))
            bar.detail = f"{len(claims)} claims about {len(self.findings.results)} subjects hold"

    def _differences(self) -> list[str]:
        """Return in words what this machine could not have as AWS does."""
        said = []
        file = self.directory.path / "databases.jsonl"
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            note = json.loads(line)
            if note.get("version") != note.get("wanted"):
                said.append(f"PostgreSQL {note['version']} stood in for Aurora's {note['wanted']}.")
        users = {
            json.loads(file.read_text(encoding="utf-8"))["user"]
            for file in self.directory.path.glob("task-*.json")
            if not file.name.endswith(".environment.json")
        }
        if users:
            ran_as = ", ".join("the user who rehearses" if u is None else str(u) for u in users)
            said.append(f"Tasks ran as {ran_as}, on Python {sys.version.split()[0]}.")
        return said

    def use(self) -> None:
        """Use the service through its load balancer, as a client does."""
        with self.progress.step("use the service") as bar:
            said = [self._healthy()]
            if self.project["database"] != "none":
                said.append(self._items())
            if (flag := self._flag()) is not None:
                said.append(self._launched(flag))
            said.append(self._terminate())
            bar.detail = "; ".join(word for word in said if word)

    def _healthy(self) -> str:
        for path in ("/health", "/ready"):
            status, body = self.http("GET", path)
            if status != 200:
                raise FailedError(f"GET {path} answered {status}: {json.dumps(body)}")
        return "/health and /ready answer 200"

    def _items(self) -> str:
        """Write and read a row through HTTP, and find it in PostgreSQL."""
        name = f"rehearsed at {time.time():.3f}"
        status, item = self.http("POST", "/items", {"name": name})
        if status == 404:
            return ""  # the team replaced the example resource
        if status != 201:
            raise FailedError(f"POST /items answered {status}: {json.dumps(item)}")
        status, again = self.http("GET", f"/items/{item['id']}")
        if status != 200 or again["name"] != name:
            raise FailedError(f"GET /items/{item['id']} answered {status}: {json.dumps(again)}")
        rows = self._rows("SELECT count(*) FROM {schema}.items WHERE name = :name", name=name)
        if rows != [[1]]:
            raise FailedError(f"The item that was posted is not in PostgreSQL (found {rows}).")
        return "an item goes through HTTP into PostgreSQL and back"

    def _rows(self, statement: str, **parameters: str) -> list[list[Any]]:
        """Ask the database as its superuser, past the service."""
        import pg8000.native

        note = json.loads((self.directory.path / "databases.jsonl").read_text().splitlines()[-1])
        schema = pg8000.native.identifier(self.project["database_roles"]["schemas"][0])
        with pg8000.native.Connection(
            note["superuser"],
            password=note["superuser_password"],
            database=note["database"],
            unix_sock=note["superuser_socket"],
        ) as connection:
            found: list[list[Any]] = connection.run(statement.format(schema=schema), **parameters)
            return found

    def _launched(self, name: str) -> str:
        """Count who has the flag that was launched to a part of the users."""
        deadline = time.monotonic() + 75  # the service asks again at the pace that AppConfig sets
        share = 0.0
        while time.monotonic() < deadline:
            # Twenty without one who has it are as rare as 1 in 1000 at 30 %.
            if any(self._has(name, n) for n in range(20)):
                share = 100 * sum(self._has(name, n) for n in range(USERS)) / USERS
                break
            time.sleep(1)
        # Four standard deviations of 200 users at 30 %.
        if not abs(share - PERCENT) < 13:
            raise FailedError(
                f"The flag {name} was launched to {PERCENT} % of users, and {share:.0f} % of {USERS} have it."
            )
        return f"the flag {name}, launched to {PERCENT} %, is on for {share:.0f} % of {USERS} users"

    def _has(self, flag: str, user: int) -> bool:
        return bool(self.http("GET", f"/features?user=user-{user}")[1].get("features", {}).get(flag))

    def _terminate(self) -> str:
        """Stop a task: it must end by itself at SIGTERM, and be replaced."""
        ecs = self.client("ecs")
        name = self.platform().names["service"]
        task = ecs.list_tasks(cluster=name, serviceName=name)["taskArns"][0]
        ecs.stop_task(cluster=name, task=task, reason="rehearsal")
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            found = ecs.describe_tasks(cluster=name, tasks=[task])["tasks"][0]
            if found["lastStatus"] == "STOPPED":
                code = found["containers"][0].get("exitCode")
                if code != 0:
                    raise FailedError(f"At SIGTERM the service ended with exit code {code}, not 0.")
                self._wait_for_steady(name)
                return "SIGTERM ends it with code 0, another task takes its place"
            time.sleep(0.2)
        raise FailedError("The service did not end within 40 seconds of SIGTERM.")

    def _wait_for_steady(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            service = self.client("ecs").describe_services(cluster=name, services=[name])["services"][0]
            if service["runningCount"] == service["desiredCount"]:
                with contextlib.suppress(FailedError, OSError):
                    self._healthy()
                    return
            time.sleep(0.3)
        raise FailedError(f"The service did not come back after one of its tasks was stopped.\n{self._last_task()}")

    def plan_again(self, layers: Sequence[str]) -> None:
        """Plan layers: nothing may be left to change, and with moto's gaps closed there is no exception."""
        with self.progress.step(f"plan again: {', '.join(layers)}") as bar:

            def plan(layer: str) -> None:
                where = [] if layer in SHARED else [f"ENV={self.environment}"]
                try:
                    self.make(bar, "plan", f"LAYER={layer}", *where, "DRIFT=1")
                except FailedError as error:
                    raise FailedError(f"A second plan of {layer} is not empty. {error}") from error

            with ThreadPoolExecutor(2) as pool:  # a plan takes half a gigabyte
                for done in [pool.submit(plan, layer) for layer in layers]:
                    done.result()
            bar.detail = f"{len(layers)} plans are empty"

    def change(self) -> None:
        """Change something in each layer of the environment, and apply it: layers that exist need no order."""
        changed = edit(self.copy / "project.yaml", self.environment)
        self.findings.notes.append("Changed and applied: " + ", ".join([*changed, "another image"]))
        image = _digest(self.images[1])
        self.client("ecr").put_image(
            repositoryName=self.platform().names["build_repository"],
            imageManifest=self.images[1],
            imageTag="rehearsal-2",
            imageDigest=image,
        )

        def deploy() -> None:
            with self.progress.step(f"make deploy ENV={self.environment}") as bar:
                self.make(bar, "deploy", f"ENV={self.environment}", f"IMAGE={image}", "YES=1")
            # The provider waits half a minute for the database: time for the plans of what all environments share.
            self.plan_again(SHARED)

        steps = [deploy, lambda: self.apply("network")]
        if "database" in self.layers():
            steps.append(lambda: self.apply("database"))
        self.at_the_same_time(*steps)
        with self.progress.step("prove the change"):
            self._healthy()
            platform = self.platform()
            container = platform.task_definition(platform.service["taskDefinition"])["containerDefinitions"][0]
            if not container["image"].endswith(image):
                raise FailedError(f"After the second deployment the service runs {container['image']}.")

    def at_the_same_time(self, first: Callable[[], None], *others: Callable[[], None]) -> None:
        """Run steps beside each other; when one fails, what runs is stopped and its error is raised.

        The first one runs in this thread, where Ctrl-C ends it wherever it is.
        """
        with ThreadPoolExecutor(len(others)) as pool:
            running = [pool.submit(step) for step in others]
            try:
                first()
                for done in as_completed(running):
                    done.result()
            except BaseException:
                self.interrupt_commands()
                raise

    def destroy(self) -> None:
        """Delete the environment, then everything, and see that nothing is left."""
        if self.project["environments"][self.environment].get("protected"):
            with self.progress.step("unprotect") as bar:
                unprotect(self.copy / "project.yaml", self.environment)
                for layer in [x for x in ("database", "service") if x in self.layers()]:
                    self.make(bar, "apply", f"LAYER={layer}", f"ENV={self.environment}", "YES=1")
        with self.progress.step(f"make down ENV={self.environment}") as bar:
            self.make(bar, "down", f"ENV={self.environment}", f"CONFIRM={self.environment}")
        with self.progress.step("make destroy") as bar:
            self.make(bar, "destroy", f"CONFIRM={self.app}")
        with self.progress.step("nothing is left") as bar:
            left = left_over(self.client, self.app)
            if left:
                raise FailedError("This is left:\n" + "\n".join(f"  {line}" for line in left))
            bar.detail = "asked by name and by tag"

    # What steps use.

    def layers(self) -> list[str]:
        """The layers that this repository has."""
        return [layer for layer in LAYERS if (self.copy / "infra" / layer).is_dir() and (
            layer != "database" or self.project["database"] != "none")]  # fmt: skip

    def client(self, service: str) -> Any:
        """Return a boto3 client of the simulator."""
        return client(service, str(self.project["aws_region"]), self.endpoint)

    def platform(self) -> Platform:
        """Return the platform as it is now; nothing is remembered from an earlier one."""
        text = (self.copy / "project.yaml").read_text(encoding="utf-8")
        if self._evaluated is None or self._evaluated[0] != text:
            self._evaluated = (text, _config(self.copy, self.environment))
        config = self._evaluated[1]
        return Platform(
            root=self.copy,
            environment=self.environment,
            settings=config["project"],
            environment_settings=config["environment"],
            names=config["names"],
            tags=config["tags"],
            settings_of_roles=config["database_roles"] or {},
            partition=config["partition"],
            host=config.get("host") or "",
            endpoint=self.endpoint,
        )

    def service_port(self) -> int:
        """Return the port of this machine on which the load balancer listens."""
        if self._port is None:
            name = self.platform().names["service"]
            text = (self.directory.path / "balancers.jsonl").read_text(encoding="utf-8")
            notes = [json.loads(line) for line in text.splitlines()]
            self._port = int(next(n["port"] for n in reversed(notes) if n["name"] == name))
        return self._port

    def http(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request through the load balancer; returns the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service_port(), timeout=40)
        try:
            headers = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FailedError(f"{method} {path} through the load balancer: {error}") from error
        finally:
            connection.close()


# Pure helpers.


def _environment(endpoint: str, region: str) -> dict[str, str]:
    """Return the variables that lead Terraform, boto3 and the AWS CLI to the simulator, and nothing of AWS."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "MAKE")) and name != "MFLAGS"
    }
    return kept | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # S3 Control puts the account before the host's name: such a call finds the simulator as a proxy.
        "HTTP_PROXY": endpoint,
        "NO_PROXY": "127.0.0.1,localhost",
        # Terraform's processes live for seconds: memory for time, of which Go's collector takes a fourth.
        "GOGC": "200",
    }


def _temporary(directory: Path) -> dict[str, str]:
    """Return this environment, with temporary files in the run's directory.

    Not where its path is so long that a Unix socket below it would not fit into 104 bytes.
    """
    short = len(str(directory)) < 50
    return dict(os.environ) | ({"TMPDIR": str(directory)} if short else {})


def _manifest(number: int) -> str:
    """Return the manifest of an image that has no layers: its files are the repository's."""
    config = hashlib.sha256(f"rehearsal {number}".encode()).hexdigest()
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": f"sha256:{config}",
                "size": 1,
            },
            "layers": [],
        }
    )


def _digest(manifest: str) -> str:
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


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


def _config(root: Path, environment: str) -> dict[str, Any]:
    """Return the outputs of infra/config: settings and names."""
    from ops import project
    from ops.errors import OpsError

    with contextlib.chdir(root):
        try:
            loaded = project.load(environment)
        except OpsError as error:
            raise FailedError(str(error)) from error
    return {
        "project": loaded.settings,
        "environment": loaded.environment_settings,
        "names": loaded.names,
        "tags": loaded.tags,
        "database_roles": loaded.database_roles,
        "partition": loaded.partition,
        "host": loaded.host,
    }


def edit(file: Path, environment: str) -> list[str]:
    """Change a setting of each layer in project.yaml, by its text; returns what was changed, in words."""
    text = file.read_text(encoding="utf-8")
    start = re.search(rf"(?m)^  {re.escape(environment)}:\n", text)
    if start is None:
        raise FailedError(f"project.yaml has no environment {environment}")
    zones = int(yaml.safe_load(text)["environments"][environment]["network"]["zones"])
    changed = []
    for setting, change in (
        ("endpoint_zones", lambda value: str(int(value) + (1 if int(value) < zones else -1))),
        ("max_capacity", _more),
        ("max_tasks", _more),
    ):
        match = re.compile(rf"(?m)^(      {setting}: )(\S+)").search(text, start.end())
        if match:
            new = change(match[2])
            text = text[: match.start(2)] + new + text[match.end(2) :]
            changed.append(f"{setting} {match[2]} → {new}")
    file.write_text(text, encoding="utf-8")
    return changed


def _more(value: str) -> str:
    return str(int(value) + 1)


def unprotect(file: Path, environment: str) -> None:
    """Set `protected: false` for an environment."""
    text = file.read_text(encoding="utf-8")
    pattern = rf"(?ms)^(  {re.escape(environment)}:\n.*?^    protected: )true"
    file.write_text(re.sub(pattern, r"\1false", text, count=1), encoding="utf-8")


def left_over(client: Callable[[str], Any], app: str) -> list[str]:
    """Return what still exists of a project, by name or by tag."""
    found: list[str] = []

    def look(kind: str, names: Iterator[str]) -> None:
        found.extend(f"{kind} {name}" for name in names if app in name)

    look("bucket", (b["Name"] for b in client("s3").list_buckets()["Buckets"]))
    look("table", iter(client("dynamodb").list_tables()["TableNames"]))
    look(
        "role",
        (r["RoleName"] for p in client("iam").get_paginator("list_roles").paginate() for r in p["Roles"]),
    )
    look("policy", (p["PolicyName"] for p in client("iam").list_policies(Scope="Local")["Policies"]))
    look(
        "repository",
        (r["repositoryName"] for r in client("ecr").describe_repositories()["repositories"]),
    )
    look(
        "cluster",
        (c["DBClusterIdentifier"] for c in client("rds").describe_db_clusters()["DBClusters"]),
    )
    look(
        "instance",
        (i["DBInstanceIdentifier"] for i in client("rds").describe_db_instances()["DBInstances"]),
    )
    look("function", (f["FunctionName"] for f in client("lambda").list_functions()["Functions"]))
    look(
        "log group",
        (
            g["logGroupName"]
            for p in client("logs").get_paginator("describe_log_groups").paginate()
            for g in p["logGroups"]
        ),
    )
    look("topic", (t["TopicArn"] for t in client("sns").list_topics()["Topics"]))
    look("alarm", (a["AlarmName"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"]))
    look(
        "load balancer",
        (b["LoadBalancerName"] for b in client("elbv2").describe_load_balancers()["LoadBalancers"]),
    )
    look(
        "target group",
        (g["TargetGroupName"] for g in client("elbv2").describe_target_groups()["TargetGroups"]),
    )
    ecs = client("ecs")
    # A deleted cluster can be listed for a while.
    clusters = ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]
    look("ECS cluster", (c["clusterArn"] for c in clusters if c["status"] == "ACTIVE"))
    look(
        "task definition",
        iter(ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]),
    )
    look("parameter", (p["Name"] for p in client("ssm").describe_parameters()["Parameters"]))
    look("secret", (s["Name"] for s in client("secretsmanager").list_secrets()["SecretList"]))
    look("rule", (r["Name"] for r in client("events").list_rules()["Rules"]))
    look("flags", (a["Name"] for a in client("appconfig").list_applications()["Items"]))
    look("alias", (a["AliasName"] for a in client("kms").list_aliases()["Aliases"]))
    ec2 = client("ec2")
    tagged = [{"Name": "tag:application", "Values": [app]}]
    for kind, key, identifier in (
        ("vpcs", "Vpcs", "VpcId"),
        ("subnets", "Subnets", "SubnetId"),
        ("security_groups", "SecurityGroups", "GroupId"),
        ("vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
        ("route_tables", "RouteTables", "RouteTableId"),
        ("internet_gateways", "InternetGateways", "InternetGatewayId"),
    ):
        found += [
            f"{kind} {item[identifier]}"
            for item in getattr(ec2, f"describe_{kind}")(Filters=tagged)[key]
            if str(item.get("State", "")).lower() != "deleted"
        ]
    keys = client("kms")
    for key in keys.list_keys()["Keys"]:
        metadata = keys.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        tags = keys.list_resource_tags(KeyId=key["KeyId"])["Tags"]
        if {"TagKey": "application", "TagValue": app} in tags and metadata["KeyState"] == "Enabled":
            found.append(f"key {key['KeyId']}")
    return found
