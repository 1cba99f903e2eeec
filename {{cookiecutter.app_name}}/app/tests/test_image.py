"""The image: what app/Dockerfile names exists, and what it copies is all that the service needs."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.tests.service import ROOT, free_port, running

DOCKERFILE = (ROOT / "app" / "Dockerfile").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE))
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What .dockerignore lets through, by its own rules: the last pattern that matches decides."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]

    def taken(path: str) -> bool:
        kept = True
        parents = [str(part) for part in [Path(path), *Path(path).parents][:-1]]
        for pattern in patterns:
            rule = pattern.lstrip("!")
            names = [rule, rule.removeprefix("**/")] if rule.startswith("**/") else [rule]
            matching = any(
                fnmatch.fnmatch(parent, name) and parent.count("/") >= name.count("/")
                for parent in parents
                for name in names
            ) or (rule.startswith("**/") and rule[3:] in Path(path).parts)
            if matching:
                kept = pattern.startswith("!")
        return kept

    folder = tmp_path_factory.mktemp("context")
    for directory, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in (".venv", ".git", ".terraform")]
        for name in files:
            source = Path(directory, name)
            relative = source.relative_to(ROOT)
            if taken(str(relative)):
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / relative)
    return folder


def test_the_context_is_what_the_service_needs(context: Path) -> None:
    files = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert "app/main.py" in files
    surplus = {name for name in files if "test" in name or name.endswith((".tf", ".pyc"))}
    assert surplus == set()
    assert {name for name in files if not name.startswith("app/")} <= {"role_manager/rds-ca-bundle.pem"}


def test_every_path_exists(context: Path) -> None:
    sources = [source for line in instructions("COPY") if not line.startswith("--from") for source in line.split()[:-1]]
    assert sources
    for source in sources:
        assert source == "." or list(context.glob(source)), source


def test_every_command_exists(context: Path) -> None:
    commands = [json.loads(line) for line in instructions("CMD")]
    (health,) = instructions("HEALTHCHECK")
    commands.append(json.loads(health.partition("CMD ")[2]))
    assert commands[0] == ["python", "-m", "app"]
    for command in commands:
        assert command[:2] == ["python", "-m"]
        module = context.joinpath(*command[2].split("."))
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def test_it_is_not_root_and_has_no_build_tools() -> None:
    stages = instructions("FROM")
    assert len(stages) == 2
    assert instructions("USER") == ["10001:10001"]
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "pip" not in last
    assert "RUN" not in last


def test_every_requirement_has_its_hash() -> None:
    for file in (ROOT / "app").glob("requirements*.txt"):
        pins = re.findall(r"(?m)^([a-z0-9._-]+)==[^\s\\]+(?: ; [^\\]+)? \\\n    --hash=", file.read_text())
        lines = [line for line in file.read_text().splitlines() if re.match(r"[a-z0-9]", line)]
        assert len(pins) == len(lines) > 0, file


def test_the_service_runs_from_the_context_alone(context: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Nothing that the image does not have is imported, and no file is written."""
    image = tmp_path / "service"
    shutil.copytree(context, image)
    with running({**environment, "PYTHONDONTWRITEBYTECODE": "1"}, image) as service:
        assert service.ask("GET", "/ready").status == 200
        assert service.stop() == 0
    before = {path.relative_to(context) for path in context.rglob("*")}
    assert {path.relative_to(image) for path in image.rglob("*")} == before


def test_the_contract_is_kept(environment: dict[str, str]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "ops.laptop.contract"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            **environment,
            "START": shlex.join([sys.executable, "-m", "app"]),
            "PORT": str(free_port()),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "8 of 8 rules hold" in checked.stdout


def test_a_program_that_breaks_the_contract_is_told(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("ok")
    port = free_port()
    server = [sys.executable, "-m", "http.server", str(port), "--directory", str(tmp_path)]
    checked = subprocess.run(
        [sys.executable, "-m", "ops.laptop.contract"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "START": shlex.join(server), "PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert "BROKEN  A connection serves more than one request" in checked.stdout
    assert "BROKEN  SIGTERM" in checked.stdout


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"URL": "http://localhost:many"}, "URL is 'http://localhost:many': http://HOST:PORT is needed"),
        ({"URL": "https://localhost"}, "http://HOST:PORT is needed"),
        ({"URL": "http://[::1"}, "http://HOST:PORT is needed"),
        ({"START": "no-such-program --x"}, "START is 'no-such-program --x', which cannot be started"),
        ({"START": 'sh -c "half'}, "which cannot be started"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_sentence(variables: dict[str, str], words: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "ops.laptop.contract"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert words in checked.stderr
    assert len(checked.stderr.splitlines()) == 1


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "app" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
