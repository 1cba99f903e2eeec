"""The stand-in for docker refuses what docker refuses, and takes what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machinery import ROOT
from tests.machinery.ops import docker as stand_in


def docker(
    folder: Path, *arguments: str, context: Path | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    state = folder / "state"
    state.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, stand_in.__file__, str(state), *arguments],
        cwd=context or folder, input=given, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    for name in (
        "app/main.py",
        "app/tests/test_main.py",
        "app/__pycache__/main.pyc",
        "secret.env",
        "docs/a.md",
        "docs/keep/b.md",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / ".dockerignore").write_text("*\n!app\napp/tests\n**/__pycache__\n!docs/keep\n", encoding="utf-8")
    return root


REFUSED = [
    ("FROM scratch\nCOPY nothing.txt /\n", '"/nothing.txt": not found'),
    ("FROM scratch\nCOPY nothing*.txt /\n", '"/nothing*.txt": not found'),
    ("FROM scratch\nCOPY secret.env /\n", '"/secret.env": not found'),  # .dockerignore
    ("FROM scratch\nCOPY app/tests /tests\n", '"/app/tests": not found'),
    ("FROM scratch\nCOPY app/__pycache__/main.pyc /\n", "not found"),
    ("FROM scratch\nCOPY docs/a.md /\n", '"/docs/a.md": not found'),
    ("FROM scratch\nCOPY ../outside /\n", '"/outside": not found'),
    ("FROM scratch\nCOPY app/main.py app/main.py /x\n", "must be a directory and end with a /"),
    ("FROM scratch\nCOPY app\n", "requires at least two arguments"),
    ("FROM scratch AS one\nFROM scratch\nCOPY --from=two /x /x\n", "two: failed to resolve"),
    ("FROM scratch\nCOPPY app /\n", "line 2: unknown instruction: COPPY"),
    ("FROM scratch\nRUN true \\\n  && true\n\nCOPPY app /\n", "line 5: unknown instruction: COPPY"),
    ("COPY app /\nFROM scratch\n", "no build stage"),
    ("# nothing\n", "file with no instructions"),
]


@pytest.mark.parametrize(("dockerfile", "words"), REFUSED)
def test_a_build_that_docker_refuses(tmp_path: Path, context: Path, dockerfile: str, words: str) -> None:
    (context / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    result = docker(tmp_path, "build", "--tag", "x:1", str(context))
    assert result.returncode == 1
    assert words in result.stderr


TAKEN = [
    "FROM scratch\nCOPY app/main.py /\n",
    "FROM scratch\nCOPY ./app/*.py /app/\n",
    "FROM scratch\nCOPY . /service\n",
    "FROM scratch\nCOPY /app /service\n",
    "FROM scratch\nCOPY docs/keep /docs\n",
    'ARG BASE=scratch\nFROM $BASE AS one\nCOPY ["app/main.py", "/a b/"]\nFROM scratch\nCOPY --from=one /x /x\nCOPY --from=0 /x /y\n',
    "FROM scratch\nCOPY --chown=1:1 \\\n  app/main.py \\\n  /\n",
]


@pytest.mark.parametrize("dockerfile", TAKEN)
def test_a_build_that_docker_takes(tmp_path: Path, context: Path, dockerfile: str) -> None:
    (context / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    result = docker(tmp_path, "build", "--tag", "x:1", str(context))
    assert result.returncode == 0, result.stderr


def test_the_dockerfile_is_where_file_says_from_where_docker_is_called(tmp_path: Path, context: Path) -> None:
    (context / "app" / "Dockerfile").write_text("FROM scratch\nCOPY app/main.py /\n", encoding="utf-8")
    assert "open Dockerfile: no such file" in docker(tmp_path, "build", str(context)).stderr
    assert "open Dockerfile: no such file" in docker(tmp_path, "build", "--file", "app/Dockerfile", str(context)).stderr
    assert docker(tmp_path, "build", "--file", "app/Dockerfile", ".", context=context).returncode == 0
    # The folder of the Dockerfile is not the context.
    assert (
        '"/app/main.py": not found'
        in docker(tmp_path, "build", "--file", "app/Dockerfile", "app", context=context).stderr
    )
    assert "requires 1 argument" in docker(tmp_path, "build", "--file", "app/Dockerfile", context=context).stderr
    assert "not found" in docker(tmp_path, "build", "elsewhere", context=context).stderr
    assert docker(tmp_path, "build", "--fille", "x", ".", context=context).returncode == 125


def test_the_dockerfiles_own_ignore_file_comes_first(tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY secret.env /\n", encoding="utf-8")
    (context / "Dockerfile.dockerignore").touch()
    assert docker(tmp_path, "build", str(context)).returncode == 0


def test_what_was_not_built_or_not_logged_in_to_is_not_pushed(tmp_path: Path, context: Path) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app:1"
    assert "does not exist locally" in docker(tmp_path, "push", image).stderr
    (context / "Dockerfile").write_text("FROM scratch\nCOPY app /\n", encoding="utf-8")
    assert docker(tmp_path, "build", "--tag", image, str(context)).returncode == 0
    assert "no basic auth credentials" in docker(tmp_path, "push", image).stderr
    assert "Password Required" in docker(tmp_path, "login", "--username", "AWS", "--password-stdin", "other").stderr
    assert docker(tmp_path, "login", "--username", "AWS", "--password-stdin", "other", given="x").returncode == 0
    assert "no basic auth credentials" in docker(tmp_path, "push", image).stderr


def test_this_repositorys_image_can_be_built(tmp_path: Path) -> None:
    result = docker(tmp_path, "build", "--file", "app/Dockerfile", "--tag", "x:1", ".", context=ROOT)
    assert result.returncode == 0, result.stderr
