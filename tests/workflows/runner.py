"""Gives one job to nektos/act, as GitHub gives it to a runner: an empty workspace, a token, an event, its steps.

https://nektosact.com. act runs the steps in this machine's shell (`-self-hosted`); third-party actions are replaced by
those of `actions.yml`. What GitHub has evaluated already (needs, inputs, matrix, secrets, variables) is written out as
literals.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.workflows import expressions
from tests.workflows.github import Job, Outcome
from tests.workflows.server import GitHub
from tools import template

HERE = Path(__file__).parent
SPECIFICATIONS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "actions.yml").read_text(encoding="utf-8"))
USES = re.compile(r"(?P<name>[\w.-]+/[\w.-]+(?:/[\w./-]+)?)@(?P<commit>[0-9a-f]{40})")
# Variables of this machine that a job may see: how packages and certificates are found. Everything else is GitHub's.
KEPT = re.compile(
    r"PATH|LANG|LC_\w+|TZ|(PIP|UV)_\w+|(HTTPS?|NO|ALL)_PROXY|(SSL|REQUESTS|CURL|NODE|GIT_SSL|AWS_CA)_\w+|TF_CLI_CONFIG_FILE",
    re.IGNORECASE,
)


class Unusable(Exception):
    """A job that no runner could begin."""


def composite(name: str, specification: Mapping[str, Any]) -> dict[str, Any]:
    """The action.yml of a stand-in."""
    defaults = specification["inputs"]
    return {
        "name": name,
        "description": f"stands in for {name} {specification['read']}",
        "inputs": {key: {} if default is None else {"default": default} for key, default in defaults.items()},
        "outputs": {key: {"value": f"${{{{ steps.run.outputs.{key} }}}}"} for key in specification.get("outputs", [])},
        "runs": {
            "using": "composite",
            "steps": [
                {
                    "id": "run",
                    "shell": "bash",
                    "run": f"PYTHONPATH='{template.ROOT}' '{sys.executable}' -m tests.workflows.actions {name}",
                    "env": {
                        "STANDIN_INPUTS": "${{ toJSON(inputs) }}",
                        "STANDIN_DEFAULTS": json.dumps(defaults).replace("${{", "$ {{"),
                        "STANDIN_REQUIRED": " ".join(specification.get("required", [])),
                    },
                }
            ],
        },
    }


def write_actions(folder: Path) -> None:
    """Write every stand-in as a folder that act takes for the action's repository."""
    for name, specification in SPECIFICATIONS.items():
        path = folder / name / "action.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(composite(name, specification), sort_keys=False), encoding="utf-8")


def steps_of(job: Job, read: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """The steps of a job and of the repository's own actions that it uses."""
    rest = list(job.definition["steps"])
    while rest:
        step = rest.pop(0)
        yield step
        uses = str(step.get("uses", ""))
        if uses.startswith("./"):
            rest += yaml.safe_load(read(f"{uses[2:]}/action.yml"))["runs"]["steps"]


def used(steps: Iterator[dict[str, Any]]) -> dict[str, str]:
    """Third-party actions of some steps: `owner/name@commit` -> its folder's name.

    Raises Unusable for an action without a stand-in and for an input that the action does not have.
    """
    found = {}
    for step in steps:
        uses = str(step.get("uses", ""))
        if not uses or uses.startswith("./"):
            continue
        match = USES.fullmatch(uses)
        if match is None:
            raise Unusable(f"{uses} is not pinned by a commit")
        if match["name"] not in SPECIFICATIONS:
            raise Unusable(f"{uses} has no stand-in: write one in tests/workflows/actions.yml")
        unexpected = set(step.get("with") or {}) - set(SPECIFICATIONS[match["name"]]["inputs"])
        if unexpected:
            raise Unusable(f"Unexpected input(s) {sorted(unexpected)} of {match['name']}")
        repository = "/".join(match["name"].split("/")[:2])
        found[f"{repository}@{match['commit']}"] = repository
    return found


def workflow_of(job: Job, results: Path) -> dict[str, Any]:
    """A workflow file with this job alone. A last step writes down its outputs, after the post steps of actions."""
    known: dict[str, Any] = {
        name: job.contexts[name] for name in ("needs", "inputs", "matrix", "secrets", "vars") if name in job.contexts
    }
    secret = job.contexts["secrets"]
    known["secrets"] = dict(secret)
    kept = ("name", "env", "defaults", "timeout-minutes", "steps")
    definition = {key: job.definition[key] for key in kept if key in job.definition}
    outputs = {f"OUTPUT_{number}": value for number, value in enumerate((job.definition.get("outputs") or {}).values())}
    python = f"PYTHONPATH='{template.ROOT}' '{sys.executable}'"
    definition["steps"] = [
        *definition["steps"],
        {"name": "Post actions", "run": f"{python} -m tests.workflows.actions post", "shell": "bash"},
        {
            "name": "Outputs",
            "if": "always()",
            "shell": "bash",
            "env": {**outputs, "OUTPUT_URL": job.url or ""},
            "run": f"{python} -c 'import json, os;"
            f' json.dump({{k: v for k, v in os.environ.items() if k.startswith("OUTPUT_")}},'
            f' open("{results}", "w"))\'',
        },
    ]
    whole: dict[str, Any] = {
        "name": job.run.name,
        "on": job.run.event,
        "env": job.scope.workflow.get("env") or {},
        "jobs": {job.node.id: {**definition, "runs-on": "ubuntu-24.04", "name": job.name}},
    }
    if "defaults" in job.scope.workflow:
        whole["defaults"] = job.scope.workflow["defaults"]
    resolved: dict[str, Any] = expressions.resolved(whole, known)
    return resolved


class Runner:
    """Runs jobs; each has a machine of its own as far as its files go."""

    def __init__(self, folder: Path, variables: Mapping[str, str], programs: list[Path]) -> None:
        """`variables`: what every job's environment has (AWS's address); `programs`: folders before the PATH."""
        self.folder = folder
        self.variables = dict(variables)
        self.programs = programs
        self.act = shutil.which("act", path=str(Path(sys.executable).parent)) or shutil.which("act")
        assert self.act, "act is not installed: make .venv/.test"
        self.github: GitHub | None = None
        self.shared = folder / "shared"
        write_actions(folder / "actions")

    def __call__(self, job: Job) -> Outcome:
        """Run a job to its end, or until it is told to stop."""
        assert self.github is not None
        repository = self.github.repository
        place = self.folder / f"job-{job.id}"
        (place / "empty").mkdir(parents=True)
        (place / "home").mkdir()
        try:
            actions = used(steps_of(job, lambda path: repository.file(job.run.sha, path)))
        except Unusable as error:
            return Outcome("failure", steps=[("Set up job", "failure", str(error))])
        results = place / "outputs.json"
        (place / "workflow.yml").write_text(
            yaml.safe_dump(workflow_of(job, results), sort_keys=False, width=10_000), encoding="utf-8"
        )
        (place / "event.json").write_text(json.dumps(job.run.payload), encoding="utf-8")
        environment = self.environment(place)
        services = self.github.job_environment(job)
        token = services.pop("GITHUB_TOKEN")
        context = repository.github_context(job.run)
        given = {
            **services,
            "SHA_REF": context["sha"],
            "GITHUB_REF": context["ref"],
            "GITHUB_REPOSITORY": context["repository"],
            "GITHUB_REPOSITORY_OWNER": context["repository_owner"],
            "GITHUB_RUN_ID": context["run_id"],
            "GITHUB_RUN_NUMBER": context["run_number"],
            "GITHUB_RUN_ATTEMPT": context["run_attempt"],
            "GITHUB_WORKFLOW_REF": context["workflow_ref"],
            "RUNNER_ENVIRONMENT": "github-hosted",
        }
        command = [
            str(self.act),
            job.run.event,
            *("-C", str(place / "empty"), "-W", str(place / "workflow.yml"), "-e", str(place / "event.json")),
            *("-P", "ubuntu-24.04=-self-hosted", "--container-daemon-socket", "-"),
            *("--no-skip-checkout", "--no-cache-server", "--json", "--action-cache-path", str(place / "act")),
            *("--actor", job.run.actor, "--secret", f"GITHUB_TOKEN={token}"),
            *(word for name in ("env", "secret", "var", "input") for word in (f"--{name}-file", os.devnull)),
            *(word for name, value in given.items() for word in ("--env", f"{name}={value}")),
            *(
                word
                for uses, name in actions.items()
                for word in ("--local-repository", f"{uses}={self.folder / 'actions' / name}")
            ),
        ]
        log = place / "log.jsonl"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            while process.poll() is None:
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    if job.stop.is_set():
                        os.killpg(process.pid, signal.SIGINT)
                        try:
                            process.wait(10)
                        except subprocess.TimeoutExpired:
                            os.killpg(process.pid, signal.SIGKILL)
        outcome = read_log(log.read_text(encoding="utf-8", errors="replace"))
        if results.exists():
            values = json.loads(results.read_text(encoding="utf-8"))
            names = list(job.definition.get("outputs") or {})
            outcome.outputs = {name: values[f"OUTPUT_{number}"] for number, name in enumerate(names)}
            job.url = values["OUTPUT_URL"]
        shutil.rmtree(place / "act", ignore_errors=True)
        shutil.rmtree(place / "home", ignore_errors=True)
        return outcome

    def environment(self, place: Path) -> dict[str, str]:
        """A fresh machine's environment: nothing of who runs the tests, and a home of its own."""
        kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        virtual = str(Path(sys.prefix) / "bin")
        path = [part for part in kept["PATH"].split(os.pathsep) if part != virtual]
        return {
            **kept,
            "PATH": os.pathsep.join([*map(str, self.programs), *path]),
            "HOME": str(place / "home"),
            "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config")),
            "TMPDIR": str(place),
            "PIP_CACHE_DIR": str(self.shared / "pip"),
            "UV_CACHE_DIR": str(self.shared / "uv"),
            **self.variables,
        }


def read_log(text: str) -> Outcome:
    """The log of act as the steps of a job: their names, results and output."""
    outcome = Outcome("failure")
    output: dict[str, str] = {}
    names: dict[str, str] = {}
    results: dict[str, str] = {}
    rest = ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            rest += line + "\n"
            continue
        if "jobResult" in entry:
            outcome.conclusion = entry["jobResult"]
        identifier = str((entry.get("stepID") or entry.get("stepid") or ["-"])[0])
        key = f"{entry.get('stage', '')} {identifier}"
        if len(entry.get("stepID") or ["-"]) == 1:
            names.setdefault(
                key, str(entry.get("step", identifier)).splitlines()[0] if entry.get("step") else identifier
            )
            if "stepResult" in entry:
                results[key] = entry["stepResult"]
        if entry.get("raw_output") or entry.get("level") == "error":
            output[key] = output.get(key, "") + entry["msg"].rstrip("\n") + "\n"
        elif str(entry.get("command")).partition("::")[0] in ("error", "warning", "notice"):
            # With `::` in the text (an ARN has it) act takes some of it for the command; the message is whole.
            output[key] = output.get(key, "") + entry["msg"].strip().lstrip("❗❓🚧 ") + "\n"
        elif entry.get("command") == "summary":
            outcome.summary += entry["content"]
    outcome.steps = [(name, results.get(key, "skipped"), output.get(key, "")) for key, name in names.items()]
    if outcome.conclusion == "failure" and not any(result == "failure" for _, result, _ in outcome.steps):
        outcome.steps.append(("act", "failure", rest + output.get(" -", "")))
    return outcome
