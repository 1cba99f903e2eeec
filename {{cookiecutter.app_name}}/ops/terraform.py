"""Terraform on one layer.

Right folder, backend, data folder, workspace and variables; never an apply without a saved plan; errors with
the layer and the next step. Terraform runs with `-json`, so progress and errors are read as data.
https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ops import aws, interruption, processes
from ops.errors import AccountError, OpsError, StateLocked, WrongUse
from ops.output import Step, duration, warn
from ops.project import DEFAULT_WORKSPACE, Project, terraform_binary


@dataclass(frozen=True)
class Layer:
    """A Terraform root module with a state of its own."""

    name: str
    per_environment: bool
    workspaces: bool = False  # whether a temporary environment has its own


# In the order in which they are applied.
LAYERS = (
    Layer("account", per_environment=False),
    Layer("network", per_environment=True),
    Layer("build-repository", per_environment=False),
    Layer("database", per_environment=True),
    Layer("service", per_environment=True, workspaces=True),
)
# Terraform's cache of providers is not safe for two at once.
_INIT = threading.Lock()
# GitHub's runners and people's machines.
PLATFORMS = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")
# How long an apply waits for a state that somebody else has locked.
LOCK_SECONDS = 600

ACCOUNT, NETWORK, BUILD_REPOSITORY, DATABASE, SERVICE = LAYERS


def layer_named(name: str) -> Layer:
    """A layer by its name. Raises WrongUse with the names that exist."""
    for layer in LAYERS:
        if layer.name == name:
            return layer
    raise WrongUse(f"There is no layer {name!r}.", next_step=f"One of {', '.join(x.name for x in LAYERS)}.")


@dataclass
class Diagnostic:
    """An error or a warning of Terraform."""

    severity: str
    summary: str
    detail: str
    address: str = ""
    place: str = ""

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.address, self.place) if part)
        return f"{self.summary}{f' ({where})' if where else ''}" + (f"\n{self.detail}" if self.detail else "")


@dataclass
class Plan:
    """A saved plan."""

    path: Path
    add: int = 0
    change: int = 0
    remove: int = 0
    adopt: int = 0
    outputs_change: bool = False
    changes: list[tuple[str, str]] = field(default_factory=list)  # (action, address)
    variables: Mapping[str, str] = field(default_factory=dict)
    destroy: bool = False

    @property
    def empty(self) -> bool:
        """Whether applying it would change nothing."""
        return not (self.add or self.change or self.remove or self.adopt or self.outputs_change)

    @property
    def deletes(self) -> list[str]:
        """Addresses that would be deleted or replaced."""
        return [address for action, address in self.changes if action in ("delete", "replace")]

    def __str__(self) -> str:
        if self.empty:
            return "no changes"
        if not (self.add or self.change or self.remove or self.adopt):
            return "only outputs change"
        adopted = f"{self.adopt} to adopt, " if self.adopt else ""
        return f"{adopted}{self.add} to add, {self.change} to change, {self.remove} to remove"


@dataclass(frozen=True)
class _Finished:
    returncode: int
    events: list[dict[str, Any]]
    diagnostics: list[Diagnostic]
    stderr: str


class Terraform:
    """Terraform in one layer, environment and workspace.

    `step` is told the progress. `directory` and `backend` differ from the layer's own only while the account layer has no bucket yet.
    """

    def __init__(
        self,
        project: Project,
        layer: Layer,
        *,
        step: Step | None = None,
        directory: Path | None = None,
        backend: Mapping[str, str] | None = None,
    ) -> None:
        self.project = project
        self.layer = layer
        self.step = step
        self.directory = directory or project.root / "infra" / layer.name
        if not self.directory.is_dir():
            raise WrongUse(f"This project has no layer {layer.name}.")
        if layer.per_environment and project.environment is None:
            raise WrongUse(
                f"The layer {layer.name} is of an environment.",
                next_step=f"Say which: ENV={'|'.join(project.environments)}.",
            )
        if project.workspace != DEFAULT_WORKSPACE and not layer.workspaces:
            raise WrongUse(
                f"The layer {layer.name} has no temporary environments; only service has.",
                next_step="Leave WORKSPACE away.",
            )
        self.backend = dict(backend) if backend is not None else self._s3_backend()
        parts = [layer.name]
        if self._foreign:
            parts.append(project.account)
        if layer.per_environment:
            parts.append(str(project.environment))
        if project.workspace != DEFAULT_WORKSPACE:
            parts.append(project.workspace)
        self.label = "-".join(parts)
        self.data = project.scratch("terraform", self.label if backend is None else f"{self.label}-local")

    # ------------------------------------------------------------------ backend

    @property
    def _foreign(self) -> bool:
        """Whether this is the account layer of an account that is not the project's own."""
        return self.layer is ACCOUNT and not self.project.home

    @property
    def temporary_key(self) -> str:
        """What `state_key` is for the temporary environments beside this one.

        Terraform reads it before it selects a workspace, and so it is not the key of the environment's own state, in
        which the incident management's URL is: previews may not read that.
        """
        return f"{self.layer.name}/{self.project.environment}-temp.tfstate"

    @property
    def state_key(self) -> str:
        """Key of the state in the state bucket, in the default workspace."""
        if self.project.workspace != DEFAULT_WORKSPACE:
            return self.temporary_key
        if self.layer.per_environment:
            return f"{self.layer.name}/{self.project.environment}.tfstate"
        return f"{self.layer.name}.tfstate"

    @property
    def object_key(self) -> str:
        """Key of the object that really holds the state: workspaces have a prefix (`env:` is the backend's)."""
        if self.project.workspace == DEFAULT_WORKSPACE:
            return self.state_key
        return f"env:/{self.project.workspace}/{self.state_key}"

    def _s3_backend(self) -> dict[str, str]:
        project = self.project
        key = f"arn:{project.partition}:kms:{project.region}:{project.account}:{project.names['state_key']}"
        backend = {
            "bucket": project.names["state_bucket"],
            "key": self.state_key,
            "region": project.region,
            "encrypt": "true",
            "kms_key_id": key,
            "use_lockfile": "true",
        }
        if project.settings["terraform_state_locks"] == "dynamodb":
            backend["dynamodb_table"] = project.names["locks_table"]
        return backend

    # ------------------------------------------------------------------ commands

    def init(self) -> None:
        """Prepare the folder: providers, backend, workspace."""
        leftover = self.directory / "errored.tfstate"
        if leftover.exists():
            raise OpsError(
                f"{leftover} holds a state that an earlier run could not store.",
                next_step=f"Store it with {self._by_hand('state push errored.tfstate')}; then delete the file.",
            )
        with _INIT:
            self._run(
                "init",
                "-reconfigure",
                *(f"-backend-config={key}={value}" for key, value in self.backend.items()),
            )
        if self.project.workspace != DEFAULT_WORKSPACE:
            self._text("workspace", "select", "-or-create=true", self.project.workspace)

    def plan(
        self,
        variables: Mapping[str, str] | None = None,
        *,
        out: Path | None = None,
        destroy: bool = False,
        lock: bool = False,
        wait: bool = True,
        refresh: bool = True,
    ) -> Plan:
        """Make and save a plan. Call `init` before.

        Without `lock` it only looks, and is in nobody's way: a saved plan of a state that changed since is refused
        anyway when it is applied. With `lock`, and `wait`, it waits for a state that is locked.
        """
        path = (out or self.project.scratch("plans", f"{self.label}.tfplan")).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        given = dict(variables or {})
        if self.layer.per_environment:
            given["environment"] = str(self.project.environment)
        if self._foreign:
            given["account_id"] = self.project.account
        arguments = [
            f"-out={path}",
            *(["-destroy"] if destroy else []),
            *([] if refresh else ["-refresh=false"]),
            *(f"-var={name}={value}" for name, value in given.items()),
        ]
        if lock and wait:
            finished = self._patiently("plan", *arguments)
        else:
            finished = self._run("plan", *([] if lock else ["-lock=false"]), *arguments)
        path.chmod(0o600)
        plan = Plan(path, variables=dict(variables or {}), destroy=destroy)
        for event in finished.events:
            if event["type"] == "change_summary":
                counts = event["changes"]
                plan.add, plan.change, plan.remove = (
                    counts["add"],
                    counts["change"],
                    counts["remove"],
                )
                plan.adopt = counts.get("import", 0)
            elif event["type"] == "planned_change":
                change = event["change"]
                plan.changes.append((change["action"], change["resource"]["addr"]))
            elif event["type"] == "outputs":
                plan.outputs_change = any(
                    output.get("action", "noop") != "noop" for output in event["outputs"].values()
                )
        return plan

    def show(self, plan: Path, *, colour: bool | None = None) -> str:
        """A saved plan as Terraform shows it to people; in colours where the output is a terminal."""
        colour = sys.stdout.isatty() if colour is None else colour
        return self._text("show", *([] if colour else ["-no-color"]), str(plan))

    def planned(self, plan: Path) -> dict[str, Any]:
        """A saved plan as data: https://developer.hashicorp.com/terraform/internals/json-format ."""
        return dict(json.loads(self._text("show", "-json", str(plan))))

    def apply(self, plan: Plan | Path) -> None:
        """Apply a saved plan, and forget it.

        Where AWS refused what it takes a moment later, the rest is planned and applied again, twice at most.
        """
        for pause in _PAUSES:
            try:
                self._apply(plan)
            except NotYet:
                rest = self._rest(plan, pause)
                if rest is None:
                    raise
                plan = rest
            else:
                return
        self._apply(plan)

    def _rest(self, plan: Plan | Path, pause: float) -> Plan | None:
        """Plan, after a pause in seconds, what an apply left undone; None where that is no part of its plan."""
        if not isinstance(plan, Plan):
            return None
        (self.step or Step(self.label)).say(f"AWS has not heard yet of what was made: again in {duration(pause)}")
        time.sleep(pause)
        rest = self.plan(plan.variables, destroy=plan.destroy, lock=True)
        if {address for _, address in rest.changes} <= {address for _, address in plan.changes}:
            return rest
        rest.path.unlink(missing_ok=True)
        return None

    def _apply(self, plan: Plan | Path) -> None:
        path = plan.path if isinstance(plan, Plan) else plan.resolve()
        total = plan.add + plan.change + plan.remove if isinstance(plan, Plan) else 0
        try:
            self._patiently("apply", str(path), total=total)
        finally:
            if isinstance(plan, Plan):
                path.unlink(missing_ok=True)

    def lock_providers(self) -> None:
        """Write which versions of the providers are used, with the hashes for every machine that will use them."""
        with _INIT:
            self._run("init", "-backend=false", "-upgrade")
        self._text("providers", "lock", *(f"-platform={platform}" for platform in PLATFORMS))

    def output(self) -> dict[str, Any]:
        """The layer's outputs, without the sensitive ones."""
        found = json.loads(self._text("output", "-json"))
        return {name: item["value"] for name, item in found.items() if not item.get("sensitive")}

    def resources(self) -> list[str]:
        """Addresses in the state; empty when there is no state."""
        with suppress(_NoState):
            return self._text("state", "list").split()
        return []

    def pull(self) -> str:
        """The state, as JSON text."""
        return self._text("state", "pull")

    def push(self, state: Path) -> None:
        """Store a state from a file. Terraform refuses when a newer or a foreign one is there."""
        self._text("state", "push", str(state.resolve()))

    def forget(self, *addresses: str) -> None:
        """Take resources out of the state without deleting them in AWS."""
        self._text("state", "rm", *addresses)

    def unlock(self, identifier: str) -> None:
        """Remove a lock that its holder left behind."""
        self._text("force-unlock", "-force", identifier)

    def delete_workspace(self) -> None:
        """Remove the workspace and its (empty) state."""
        self._text("workspace", "select", DEFAULT_WORKSPACE)
        self._text("workspace", "delete", self.project.workspace)

    # ------------------------------------------------------------------ processes

    def _environment(self) -> dict[str, str]:
        # Settings that would change what a plan means are for people who call Terraform by hand.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TF_VAR_", "TF_CLI_ARGS", "TF_WORKSPACE"))
        }
        # One copy of the provider (0.7 GB) for all layers and environments.
        cache = self.project.scratch("plugins")
        cache.mkdir(exist_ok=True)
        # Terraform knows fewer kinds of credentials than boto3 (no prompt for an MFA code, no `aws login`): it gets those
        # that boto3 found, and nothing that would lead it to others.
        credentials = aws.credentials(self.project)
        if credentials:
            inherited = {name: value for name, value in inherited.items() if name not in aws.CREDENTIAL_VARIABLES}
        return (
            {"TF_PLUGIN_CACHE_DIR": str(cache)}
            | processes.for_terraform(inherited)
            | credentials
            | {
                "TF_DATA_DIR": str(self.data),
                "TF_IN_AUTOMATION": "1",
                "TF_INPUT": "0",
            }
        )

    def _by_hand(self, arguments: str) -> str:
        return f"`TF_DATA_DIR={self.data} terraform -chdir={self.directory} {arguments}`"

    def _text(self, *arguments: str) -> str:
        """Run a command that has no `-json` stream; its standard output."""
        interruption.check()
        process = processes.run(
            [terraform_binary(), f"-chdir={self.directory}", *arguments], environment=self._environment()
        )
        if not process.ok:
            error = _plain(process.err) or _plain(process.out)
            if "No state file was found" in error:
                raise _NoState(error)
            raise self._explain(arguments[0], [Diagnostic("error", error, "")])
        return process.out

    def _patiently(self, command: str, *arguments: str, total: int = 0) -> _Finished:
        """Run a command that takes the lock. Where somebody has it, say who, and wait."""
        try:
            return self._run(command, *arguments, total=total)
        except StateLocked as locked:
            if LOCK_SECONDS <= 0:
                raise
            (self.step or Step(self.label)).say(f"{locked.message} Waiting up to {duration(LOCK_SECONDS)}.")
        return self._run(command, f"-lock-timeout={LOCK_SECONDS}s", *arguments, total=total)

    def _run(self, command: str, *arguments: str, total: int = 0) -> _Finished:
        """Run a command with a `-json` stream, showing progress. Raises OpsError when it fails."""
        interruption.check()
        shown = _Progress(self.step, total) if self.step else None
        events: list[dict[str, Any]] = []
        with tempfile.TemporaryFile("w+", encoding="utf-8") as stderr:
            with subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                [
                    terraform_binary(),
                    f"-chdir={self.directory}",
                    command,
                    "-json",
                    "-input=false",
                    *arguments,
                ],
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                encoding="utf-8",
            ) as process:
                _running.add(process)
                try:
                    for event in _events(process.stdout):
                        events.append(event)
                        if shown:
                            shown.event(event)
                    process.wait()
                except KeyboardInterrupt:
                    warn(f"stopping: waiting until Terraform has stored the state of {self.label}")
                    process.communicate()
                    raise
                finally:
                    _running.discard(process)
            stderr.seek(0)
            finished = _Finished(process.returncode, events, [*_diagnostics(events)], stderr.read())
        if finished.returncode != 0:
            errors = [d for d in finished.diagnostics if d.severity == "error"]
            raise self._explain(command, errors or [Diagnostic("error", _plain(finished.stderr), "")])
        return finished

    def _explain(self, command: str, errors: Sequence[Diagnostic]) -> OpsError:
        text = "\n".join(str(error) for error in errors)
        lock = _lock(text)
        if lock:
            return StateLocked(
                f"The state of {self.label} is locked by {lock['Who']} since {lock['Created']}"
                f" (Terraform {lock['Operation']}, lock {lock['ID']}).",
                next_step="Wait until that run is over. If it died, and only then: "
                + self._make("unlock", LOCK=lock["ID"]),
            )
        where = f"Terraform {command} failed in {self.label}:\n{text}"
        if "ExpiredToken" in text or "No valid credential sources found" in text:
            return AccountError(where, next_step="Sign in again (such as `aws sso login`), then repeat the command.")
        if "Saved plan is stale" in text:
            return OpsError(where, next_step="The state changed after that plan was made: plan again.")
        if command == "apply" and errors and all(_PASSING.search(str(error)) for error in errors):
            return NotYet(where, next_step="AWS had not heard yet of what it made before: repeat the command.")
        if "AccessDenied" in text or "UnauthorizedOperation" in text:
            return OpsError(where, next_step="Use a role that may do this, then repeat the command.")
        if "NoSuchBucket" in text or "S3 bucket does not exist" in text:
            return AccountError(where, next_step="Run make bootstrap first.")
        if "failed to fetch provider" in text.lower() or "Failed to query available provider" in text:
            return OpsError(
                where,
                next_step="Check the network to the Terraform registry, or a provider mirror.",
            )
        if "BucketAlreadyExists" in text:
            return OpsError(
                where,
                next_step="Bucket names are global and this one is taken: choose another app_name.",
            )
        if command == "apply":
            return OpsError(
                where,
                next_step="What was made is in the state: correct the cause, then repeat the same command to go on.",
            )
        return OpsError(
            where,
            next_step=f"Correct infra/{self.layer.name} or project.yaml, then repeat the command.",
        )

    def _make(self, target: str, **variables: str) -> str:
        words = [f"make {target}", f"LAYER={self.layer.name}"]
        if self.layer.per_environment:
            words.append(f"ENV={self.project.environment}")
        if self.project.workspace != DEFAULT_WORKSPACE:
            words.append(f"WORKSPACE={self.project.workspace}")
        return " ".join([*words, *(f"{name}={value}" for name, value in variables.items())])


# What AWS answers while one of its parts has not heard yet of what another has made.
_PASSING = re.compile(
    # A load balancer after its bucket's policy: https://github.com/hashicorp/terraform-provider-aws/issues/12010
    r"Access Denied for bucket"
    # AppConfig after its role: https://github.com/hashicorp/terraform-provider-aws/issues/38206
    r"|AppConfig[\s\S]*(?:Access ?Denied|assume)"
    # Other services after their role: https://github.com/hashicorp/terraform/issues/4375
    r"|Unable to assume role|cannot be assumed by"
    # RDS and AWS WAF after their service-linked role, which the first use in an account makes: docs.aws.amazon.com,
    # AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAM.ServiceLinkedRoles.html, waf/latest/APIReference/API_PutLoggingConfiguration.html
    r"|permission to create service linked role|WAFServiceLinkedRoleErrorException"
    # AWS WAF after the log group that it is to write into: https://github.com/hashicorp/terraform-provider-aws/issues/36000
    r"|WAFLogDestinationPermissionIssueException"
    # A key after its tags: https://docs.aws.amazon.com/kms/latest/developerguide/abac.html
    r"|not authorized to perform: kms:|KMSKeyNotAccessible",
)
_PAUSES = (20.0, 60.0)  # seconds before an apply is tried again


class NotYet(OpsError):  # noqa: N818
    """AWS refused what it takes when it is asked again: a tag, a role or a policy had not arrived everywhere."""


class _NoState(OpsError):  # noqa: N818
    """The layer was never applied."""


def _events(stream: IO[str] | None) -> Iterator[dict[str, Any]]:
    for line in stream or ():
        with suppress(json.JSONDecodeError):
            event = json.loads(line)
            if isinstance(event, dict) and "type" in event:
                yield event


def _diagnostics(events: Sequence[dict[str, Any]]) -> Iterator[Diagnostic]:
    seen = set()
    for event in events:
        found = event.get("diagnostic")
        if not found:
            continue
        position = found.get("range") or {}
        place = f"{position['filename']}:{position['start']['line']}" if "filename" in position else ""
        diagnostic = Diagnostic(
            found["severity"],
            found["summary"],
            found.get("detail", ""),
            found.get("address", ""),
            place,
        )
        if str(diagnostic) not in seen:
            seen.add(str(diagnostic))
            yield diagnostic


def _lock(text: str) -> dict[str, str] | None:
    """The `Lock Info` of an error, if it is one about a lock."""
    if "Lock Info:" not in text:
        return None
    fields = dict(re.findall(r"^\W*(ID|Path|Operation|Who|Version|Created):\s*(.*?)\s*$", text, re.MULTILINE))
    unknown = dict.fromkeys(("ID", "Path", "Operation", "Who", "Version", "Created"), "unknown")
    return unknown | {name: value for name, value in fields.items() if value}


def _plain(text: str) -> str:
    """Terraform's text without colours and frames."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "\n".join(line.strip("│╷╵ ").rstrip() for line in text.splitlines() if line.strip("│╷╵ ")).strip()


_running: set[subprocess.Popen[str]] = set()


def interrupt() -> None:
    """Ask every running Terraform to finish what it is doing, store its state and stop.

    Not for Ctrl-C: the terminal sends that to Terraform too, and a second one makes it drop everything.
    """
    for process in list(_running):
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)


def wait_for_all() -> None:
    """Wait until every Terraform has ended; they were asked to."""
    while _running:
        time.sleep(0.1)


class _Progress:
    """A line for each resource that is finished, and one a minute for those that take long."""

    def __init__(self, step: Step, total: int) -> None:
        self.step = step
        self.total = total
        self.done = 0

    def event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind not in ("apply_complete", "apply_errored", "apply_progress"):
            return
        hook = event["hook"]
        address = hook["resource"]["addr"]
        elapsed = hook.get("elapsed_seconds", 0)
        if kind == "apply_progress":
            if elapsed and elapsed % 60 == 0:
                self.step.say(f"still busy with {address} ({duration(elapsed)})")
            return
        self.done += 1
        result = "failed" if kind == "apply_errored" else hook["action"]
        self.step.say(f"{self.done}/{self.total or '?'} {result} {address} ({duration(elapsed)})")
