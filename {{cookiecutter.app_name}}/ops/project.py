"""Settings and names, as infra/config gives them.

infra/config is the one home of every rule and name. It needs no provider, so evaluating it with Terraform takes half a
second, once for each edit: nothing is repeated here, and a wrong setting has the same words everywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ops import processes
from ops.errors import OpsError, WrongUse

SCRATCH = ".ops"  # everything that the commands write on disk, git-ignored
DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True)
class Project:
    """Outputs of infra/config for one environment (None: what all environments share) and workspace."""

    root: Path
    environment: str | None
    workspace: str
    settings: Mapping[str, Any]
    environment_settings: Mapping[str, Any]
    names: Mapping[str, str]
    tags: Mapping[str, str]
    database_roles: Mapping[str, Any] | None
    secrets: Sequence[str]
    jobs: Mapping[str, Any]
    files: Mapping[str, Any] | None
    workers: Mapping[str, Mapping[str, Any]]
    accounts: Mapping[str, Mapping[str, Any]]
    registry: Mapping[str, str]
    host: str
    zone: str
    partition: str
    dns_suffix: str
    temporary: bool

    @property
    def app(self) -> str:
        """Name of the application."""
        return str(self.settings["app_name"])

    @property
    def account(self) -> str:
        """AWS account, 12 digits: the environment's, or without one the project's."""
        return str(self.settings["aws_account_id"])

    @property
    def region(self) -> str:
        """AWS region."""
        return str(self.settings["aws_region"])

    @property
    def profile(self) -> str:
        """Profile of the account in project.yaml; empty where it names none."""
        return str(self.accounts[self.account]["profile"])

    @property
    def home(self) -> bool:
        """Whether this is in the project's own account, which has the images."""
        return self.account == self.registry["account_id"]

    @property
    def environments(self) -> list[str]:
        """Names of all environments, sorted."""
        return list(self.settings["environment_names"])

    @property
    def protected(self) -> bool:
        """Whether the environment may not be deleted."""
        return bool(self.environment_settings.get("protected", True))

    @property
    def database(self) -> bool:
        """Whether there is a database: chosen in project.yaml, and its code is here."""
        return self.settings["database"] != "none" and (self.root / "infra/database").is_dir()

    @property
    def place(self) -> str:
        """`dev`, or `dev/pr-12` for a temporary environment: for messages."""
        return f"{self.environment}/{self.workspace}" if self.temporary else str(self.environment)

    def make(self, target: str, **variables: str) -> str:
        """The command line of a make target for this environment, for messages."""
        words = [f"make {target}", *(f"{name}={value}" for name, value in variables.items())]
        if self.environment:
            words.append(f"ENV={self.environment}")
        if self.temporary:
            words.append(f"WORKSPACE={self.workspace}")
        return " ".join(words)

    def scratch(self, *parts: str) -> Path:
        """A path below .ops, with its folder made and readable by the owner only (plans and states hold secrets)."""
        base = self.root / SCRATCH
        base.mkdir(mode=0o700, exist_ok=True)
        path = base.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def root_folder() -> Path:
    """The rendered repository: the current folder. Raises WrongUse elsewhere."""
    root = Path.cwd()
    if not (root / "project.yaml").is_file() or not (root / "infra/config").is_dir():
        raise WrongUse(
            f"{root} has no project.yaml and infra/config.",
            next_step="Run this at the top of the repository.",
        )
    return root


def load(
    environment: str | None = None,
    workspace: str = DEFAULT_WORKSPACE,
    *,
    account: str | None = None,
    root: Path | None = None,
) -> Project:
    """Evaluate infra/config of the repository here, or of the one at `root`.

    `account` is for what each account has once, where that is not the project's own. Raises WrongUse with every broken rule of project.yaml, or the unknown environment.
    """
    root = root or root_folder()
    asked = {"workspace": workspace, "environment": environment, "account": account}
    variables = {name: value for name, value in asked.items() if value is not None}
    outputs = _evaluate(root / "infra/config", variables)
    return Project(
        root=root,
        environment=environment,
        workspace=workspace,
        settings=outputs["project"],
        environment_settings=outputs["environment"] or {},
        names=outputs["names"],
        tags=outputs["tags"],
        database_roles=outputs["database_roles"],
        secrets=outputs["secrets"] or [],
        jobs=outputs["jobs"] or {},
        files=outputs["files"],
        workers=outputs["workers"] or {},
        accounts=outputs["accounts"],
        registry=outputs["registry"],
        host=outputs["host"],
        zone=outputs["zone"],
        partition=outputs["partition"],
        dns_suffix=outputs["dns_suffix"],
        temporary=outputs["temporary"],
    )


def terraform_binary() -> str:
    """Path of Terraform. Raises OpsError where there is none."""
    found = shutil.which(processes.TERRAFORM)
    if found is None:
        raise OpsError(
            f"{processes.TERRAFORM.capitalize()} is not installed.",
            next_step="Install version 1.11 or newer: https://developer.hashicorp.com/terraform/install",
        )
    return found


def _evaluate(module: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The outputs of a module that has no resources, for what its files and project.yaml are now."""
    terraform = terraform_binary()
    root = module.parents[1]
    files = [root / "project.yaml", *sorted(module.iterdir())]
    contents = [
        (str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
        if path.is_file() and os.access(path, os.R_OK)
    ]
    binary = Path(terraform).stat()
    now = _digest(terraform, binary.st_size, binary.st_mtime_ns, contents)
    text = _kept(root / SCRATCH / "config", now, _digest(sorted(variables.items())), partial(_plan, module, variables))
    # A null output is left out of the planned values.
    values = json.loads(text)["planned_values"].get("outputs", {})
    names = (
        "project",
        "environment",
        "names",
        "database_roles",
        "secrets",
        "jobs",
        "files",
        "workers",
        "accounts",
        "registry",
        "host",
        "zone",
        "partition",
        "dns_suffix",
        "tags",
        "temporary",
    )
    return {name: values.get(name, {}).get("value") for name in names}


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


_known: dict[str, str] = {}


def _kept(folder: Path, now: str, asked: str, make: Callable[[], str]) -> str:
    """What infra/config gave when its files were as they are `now`; asked for the first time, what `make` gives.

    It is most of what a command takes that asks AWS little. What was kept of other files goes.
    """
    name = f"{now}-{asked}.json"
    if name not in _known:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            json.loads(text)
        except (OSError, ValueError):
            text = make()
            with suppress(OSError):  # a folder that nobody may write into
                folder.parent.mkdir(mode=0o700, exist_ok=True)
                folder.mkdir(exist_ok=True)
                for old in folder.iterdir():
                    if not old.name.startswith(now):
                        old.unlink(missing_ok=True)
                whole = folder / f"{name}.{os.getpid()}"
                whole.write_text(text, encoding="utf-8")
                whole.replace(folder / name)
        _known[name] = text
    return _known[name]


def _plan(module: Path, variables: Mapping[str, str]) -> str:
    """A plan of a module as JSON text. Nothing is written outside a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        plan = Path(temporary, "plan")
        base = [terraform_binary(), f"-chdir={module}"]
        options = [f"-var={name}={value}" for name, value in variables.items()]
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("TF_VAR_", "TF_CLI_ARGS"))
        }
        environment = processes.for_terraform(inherited) | {"TF_DATA_DIR": temporary, "TF_IN_AUTOMATION": "1"}
        planned = processes.run(
            [*base, "plan", "-json", "-input=false", "-lock=false", f"-out={plan}", *options],
            environment=environment,
        )
        if not planned.ok:
            raise WrongUse(_diagnostics(planned), next_step="Correct project.yaml, or the command's options.")
        shown = processes.run([*base, "show", "-json", str(plan)], environment=environment)
        if not shown.ok:
            raise OpsError(f"infra/config could not be read: {_diagnostics(shown)}")
        return shown.out


def _diagnostics(process: processes.Finished) -> str:
    """The errors that Terraform printed, as text."""
    messages = []
    for line in process.out.splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        diagnostic = event.get("diagnostic", {}) if isinstance(event, dict) else {}
        if diagnostic.get("severity") == "error":
            message = diagnostic.get("detail") or diagnostic.get("summary", "")
            messages.append(message.replace('Call to function "yamldecode" failed: ', "project.yaml can't be read: "))
    return "\n".join(dict.fromkeys(messages)) or process.err.strip()
