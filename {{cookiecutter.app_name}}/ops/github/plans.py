"""Plans that one job makes and another one shows, or applies: what they would change, and never the plan file itself.

A layer that is not there yet is a result and no error: it is `absent`, with what brings it up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ops import ecs, layers, review
from ops.aws import Aws
from ops.errors import OpsError
from ops.output import Step, say
from ops.project import Project
from ops.terraform import ACCOUNT, SERVICE, Layer, layer_named

# https://github.com/orgs/community/discussions/27190: a comment has at most 65,536 characters.
COMMENT_CHARACTERS = 65_000
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands: 1 MiB for a step, or it has none.
SUMMARY_BYTES = 1_000_000
_LOCK_FILE = ".terraform.lock.hcl"


@dataclass(frozen=True)
class Planned:
    """What the plan of a layer would change; or why it could not be made (`error`), or need not be (`absent`)."""

    layer: str
    environment: str
    summary: str
    changes: review.Changes = field(default_factory=dict)
    text: str = ""
    error: str = ""
    absent: str = ""
    providers: str = ""  # the lock file that chose their versions
    by_administrator: bool = False

    @property
    def place(self) -> str:
        """`service of dev`, or `account`."""
        return f"{self.layer} of {self.environment}" if self.environment else self.layer


def make(project: Project, aws: Aws, names: Iterable[str], *, image: str | None = None) -> list[Planned]:
    """Plan layers of an environment (or those that all share), without locks. Failures are part of the answer."""
    found = []
    for layer in map(layer_named, names):
        planned = _make(project, aws, layer, image if layer is SERVICE else None)
        say(f"--- {planned.place}\n{planned.text or planned.error or planned.absent or planned.summary}\n")
        found.append(planned)
    return found


def _make(project: Project, aws: Aws, layer: Layer, image: str | None) -> Planned:
    environment = project.environment or ""
    path = project.scratch("plans", f"github-{layer.name}-{environment or 'shared'}.tfplan")
    try:
        absent = _absent(project, aws, layer, image)
        if absent:
            return Planned(layer.name, environment, "not there yet", absent=absent)
        step = Step(f"{layer.name} {environment}".strip())
        terraform, plan = layers.plan(project, aws, layer, image=image, out=path, step=step)
        changes = review.changes(terraform.planned(path))
        lock = terraform.directory / _LOCK_FILE
        return Planned(
            layer=layer.name,
            environment=environment,
            summary=str(plan) if changes else "no changes",
            changes=changes,
            text=terraform.show(path, colour=False) if changes else "",
            providers=lock.read_text(encoding="utf-8") if lock.is_file() else "",
            by_administrator=not layer.per_environment,
        )
    except OpsError as error:
        return Planned(layer.name, environment, "failed", error="\n".join(filter(None, [str(error), error.next_step])))
    finally:
        path.unlink(missing_ok=True)  # it may hold secrets


def _absent(project: Project, aws: Aws, layer: Layer, image: str | None) -> str:
    """Why a layer cannot be planned yet; empty where it can. Raises OpsError where that is not as it should be."""
    if not layers.bootstrapped(aws, project):
        return "The account is not bootstrapped yet: make bootstrap."
    missing = [
        item.name for item in [*layers.needs(project, layer), layer] if not layers.is_applied(aws, project, item)
    ]
    target = project.make("up") if project.environment else "make up ENV=…"
    if missing and project.environment and layers.is_applied(aws, project, SERVICE):
        raise OpsError(
            f"{' and '.join(missing)} of {project.environment} is not applied, although its service is.",
            next_step=f"{target} makes it.",
        )
    if missing and layer is not ACCOUNT:
        return f"{' and '.join(missing)} is not applied yet: {target} makes it."
    if layer is SERVICE and image is None and ecs.running_digest(aws, project) is None:
        return f"No service runs yet: {target}."
    return ""


def differing(found: Iterable[Planned]) -> list[Planned]:
    """Those that failed or would change something."""
    return [item for item in found if item.error or item.changes]


def refuse_failed(found: Iterable[Planned]) -> None:
    """Raises OpsError with the errors of all plans that could not be made."""
    failed = [item for item in found if item.error]
    if failed:
        raise OpsError("\n".join(f"{item.place}: {item.error}" for item in failed))


# ---------------------------------------------------------------------- from job to job


def folder(project: Project) -> Path:
    """Where plans are written for the next job, which gets them as an artifact."""
    return project.scratch("github", "plan.json").parent


def write(project: Project, found: Sequence[Planned]) -> str:
    """Leave plans for another job; a hash by which that job knows that it got them all, and as they were."""
    target = folder(project)
    target.mkdir(parents=True, exist_ok=True)
    for item in found:
        name = f"{item.layer}-{item.environment or 'shared'}.json"
        (target / name).write_text(json.dumps(asdict(item), indent=2, sort_keys=True), encoding="utf-8")
    return hash_of(found)


def hash_of(found: Iterable[Planned]) -> str:
    """A hash of plans with all that they say."""
    listed = sorted(json.dumps(asdict(item), sort_keys=True) for item in found)
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def read(project: Project) -> list[Planned]:
    """The plans that the jobs before this one left, in the order of their apply."""
    found = [_parsed(json.loads(path.read_text("utf-8"))) for path in sorted(folder(project).glob("*.json"))]
    order = {layer.name: number for number, layer in enumerate(layers.present(project))}
    return sorted(found, key=lambda item: (order.get(item.layer, -1), item.environment))


def _parsed(data: dict[str, Any]) -> Planned:
    changes = {address: review.Change(**change) for address, change in data["changes"].items()}
    return Planned(**{**data, "changes": changes})


def use_providers(project: Project, planned: Planned) -> None:
    """Let the next `init` of a layer take the versions with which this plan was made."""
    target = project.root / "infra" / planned.layer / _LOCK_FILE
    if planned.providers and not target.exists():
        target.write_text(planned.providers, encoding="utf-8")


# ---------------------------------------------------------------------- for people


def _size(text: str, *, in_bytes: bool) -> int:
    return len(text.encode()) if in_bytes else len(text)


def _beginning(text: str, size: int, *, in_bytes: bool) -> str:
    return text.encode()[:size].decode(errors="ignore") if in_bytes else text[:size]


def markdown(found: Sequence[Planned], *, summary: bool = False) -> str:
    """A table of all plans, then each one that changes something, shortened to fit a comment, or a step's summary."""
    limit = SUMMARY_BYTES if summary else COMMENT_CHARACTERS
    rows = [
        f"| {item.layer} | {item.environment or 'all'} | {'**failed**' if item.error else item.summary} |"
        for item in found
    ]
    head = "\n".join(["| layer | environment | plan |", "| --- | --- | --- |", *rows])
    by_hand = [item.layer for item in found if item.changes and item.by_administrator]
    if by_hand:
        head += f"\n\nAn administrator applies {' and '.join(by_hand)}: `make apply LAYER=…`."
    texts = differing(found)
    room = (limit - _size(head, in_bytes=summary)) // max(len(texts), 1)
    blocks = []
    for item in texts:
        text = (item.error or item.text).strip().replace("```", "'''")
        frame = f"\n\n<details><summary>{item.place}</summary>\n\n```\n\n```\n\n</details>"
        cut = "\n… shortened: the whole plan is in the job's log"
        left = room - _size(frame, in_bytes=summary)
        if _size(text, in_bytes=summary) > left:
            text = _beginning(text, max(left - _size(cut, in_bytes=summary), 0), in_bytes=summary) + cut
        blocks.append(frame.replace("```\n\n```", f"```\n{text}\n```"))
    return head + "".join(blocks)
