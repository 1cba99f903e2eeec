"""What an image has of the repository: the files that its Dockerfile copies, the packages, and the environment."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from importlib import metadata
from pathlib import Path


def image_environment(dockerfile: Path) -> dict[str, str]:
    """Return what `ENV` in the last stage of a Dockerfile sets; PATH leads to this Python."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    last = re.split(r"(?m)^FROM\s", text)[-1]
    variables = {}
    for line in re.findall(r"(?m)^ENV\s+(.+)$", last):
        for assignment in shlex.split(line):
            name, _, value = assignment.partition("=")
            variables[name] = value
    variables.pop("PATH", None)
    return variables


def image_packages(render: Path) -> list[Path]:
    """Return where on this machine the packages are that the Dockerfile installs."""
    found = set()
    for file in (render / "app").glob("requirements*.txt"):
        for name in re.findall(r"(?m)^([\w.-]+)==", file.read_text(encoding="utf-8")):
            with suppress(metadata.PackageNotFoundError):
                package = metadata.distribution(name)
                parts = {path.parts[0] for path in package.files or () if path.suffix == ".py"} - {".."}
                found |= {Path(str(package.locate_file(part))) for part in parts}
    return sorted(found)


def image_files(render: Path) -> list[Path]:
    """Return the files that `COPY .` takes: those that the last matching line of .dockerignore admits."""
    from fnmatch import fnmatchcase

    ignore = render / ".dockerignore"
    rules = [
        line.strip()
        for line in (ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else [])
        if line.strip() and not line.startswith("#")
    ]

    def admitted(path: Path) -> bool:
        admits = True
        names = [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]
        for rule in rules:
            pattern = rule.removeprefix("!").strip("/")
            loose = pattern.removeprefix("**/")
            if any(fnmatchcase(name, pattern) for name in names) or (
                loose != pattern and any(fnmatchcase(part, loose) for part in path.parts)
            ):
                admits = rule.startswith("!")
        return admits

    tops = {rule.removeprefix("!").strip("/").split("/")[0] for rule in rules if rule.startswith("!")}
    roots = [render / top for top in tops] if "*" in rules else [render]
    return [
        file.relative_to(render)
        for root in roots
        for file in (sorted(root.rglob("*")) if root.is_dir() else [root])
        if file.is_file() and admitted(file.relative_to(render))
    ]
