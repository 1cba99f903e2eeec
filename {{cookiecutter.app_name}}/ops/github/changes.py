"""From the files that a pull request changes to what of it is tested and planned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops import layers, processes
from ops.errors import OpsError
from ops.project import Project
from ops.terraform import ACCOUNT, Layer

# Which paths each part of CI tests. A change of anything that is not listed tests everything.
PARTS: Mapping[str, tuple[str, ...]] = {
    "app": ("app/", "ops/laptop/", "role_manager/"),
    "image": ("app/", "role_manager/rds-ca-bundle.pem", "ops/laptop/contract.py", ".dockerignore", "compose.yaml"),
    "role-manager": ("role_manager/", "ops/laptop/"),
    "ops": ("ops/", "infra/config/", "infra/account/", "project.yaml"),
    "infra": ("infra/", "project.yaml", "app/flags.json"),
    "rehearsal": ("app/", "infra/", "ops/", "role_manager/", "project.yaml"),
}
TESTS_NOTHING = ("docs/", ".github/ISSUE_TEMPLATE/")


def changed_files(root: Path, base: str) -> list[str]:
    """Paths that differ from the commit where this branch left `base`; of a file that moved both."""
    process = processes.run(["git", "diff", "--name-only", "--no-renames", "-z", f"{base}...HEAD", "--"], folder=root)
    if not process.ok:
        raise OpsError(
            f"git diff with {base}: {process.err.strip()}",
            next_step="The checkout needs its history.",
        )
    return [path for path in process.out.split("\0") if path]


def parts(root: Path, files: Iterable[str] | None) -> list[str]:
    """Parts of CI that these files concern; all of them for None."""
    here = [part for part in PARTS if part != "role-manager" or (root / "role_manager").is_dir()]
    if files is None:
        return here
    known = {prefix for prefixes in PARTS.values() for prefix in prefixes}
    wanted: set[str] = set()
    for path in files:
        if path.startswith(TESTS_NOTHING) or path.endswith(".md"):
            continue
        if not path.startswith(tuple(known)):
            return here
        wanted.update(part for part in here if path.startswith(PARTS[part]))
    return [part for part in here if part in wanted]


def plans(project: Project, files: Iterable[str] | None) -> list[dict[str, str]]:
    """What these files can change, a job for each environment and one ("") for what they share; all for None.

    What another account than the project's has once is in the job of its first environment. Each has `environment` and, in the order of their apply, `layers`.
    """
    wanted = _layers(project, files)
    others = [account for number, account in project.accounts.items() if number != project.account]
    first = [account["environments"][0] for account in others]
    found = []
    for environment in ["", *project.environments]:
        names = [item.name for item in wanted if item.per_environment == bool(environment)]
        if ACCOUNT in wanted and environment in first:
            names.insert(0, ACCOUNT.name)
        if names:
            found.append({"environment": environment, "layers": " ".join(names)})
    return found


def _layers(project: Project, files: Iterable[str] | None) -> list[Layer]:
    """The layers whose plan these files can change."""
    every = layers.present(project)
    if files is None:
        return every
    wanted: set[str] = set()
    for path in files:
        inside = re.match(r"infra/([^/]+)/", path)
        if path == "project.yaml" or (inside and inside[1] in ("config", "modules")):
            return every
        if inside and "/tests/" not in path:
            wanted.add(inside[1])
        elif path.startswith("role_manager/") and "/tests/" not in path:
            wanted.add("database")
        elif path == "app/flags.json":
            wanted.add("service")
    return [layer for layer in every if layer.name in wanted]
