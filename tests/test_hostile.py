"""Hostile answers through every door: nothing runs, nothing is left behind, and the answer is in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bakes import digest
from tools import template

COOKIECUTTER = [sys.executable, "-m", "cookiecutter"]


class Sandbox:
    """A folder in which a command runs, deep enough that ../.. is seen too."""

    def __init__(self, root: Path) -> None:
        """Folders for the home, the work and the marker that hostile code would write."""
        self.root = root
        self.marker = root / "marker"
        self.work = root / "a" / "b" / "work"
        self.work.mkdir(parents=True)
        self.home = root.parent / f"{root.name}-home"
        self.home.mkdir()

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, without a terminal."""
        environment = {**os.environ, "HOME": str(self.home), "PYTHONPATH": str(template.ROOT), **variables}
        return subprocess.run(
            command,
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def left(self) -> set[str]:
        """What is in the sandbox, folders too."""
        return {str(path) for path in self.root.rglob("*")}


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "sandbox")


# {marker} is a path that the code in the answer would make.
HOSTILE = [
    ("app_name", 'x"; import os; os.system("touch {marker}")'),
    ("app_name", "x'''; __import__('os').system('touch {marker}'); '''"),
    ("app_name", 'x"""; __import__("os").system("touch {marker}"); """'),
    ("app_name", "'''\n__import__('os').system('touch {marker}')\n'''"),
    ("app_name", "$(touch {marker})"),
    ("app_name", "`touch {marker}`"),
    ("app_name", "x; touch {marker} #"),
    ("app_name", "x\\"),
    ("app_name", "x\ntouch {marker}"),
    ("app_name", "../x"),
    ("app_name", "../../../../x"),
    ("app_name", "{marker}"),
    ("app_name", "/etc/x"),
    ("app_name", "/etc/x/y/z"),
    ("app_name", "~/x"),
    ("app_name", "x/../../y"),
    ("app_name", "a/b/c"),
    ("app_name", "a/b/c/"),
    ("app_name", "./a//b"),
    ("app_name", "a/../b/c"),
    ("app_name", "a/" * 100 + "b"),
    ("app_name", "../x/y"),
    ("app_name", "x\ty\x01\x7f"),
    ("app_name", "x\r/y\n/z"),
    ("app_name", "."),
    ("app_name", ".."),
    ("app_name", ""),
    ("app_name", "/"),
    ("app_name", "a" * 300),
    ("app_name", "a/" + "b" * 300),
    ("app_name", "é" * 300),
    ("app_name", "x" * 10_000),
    ("app_name", "ab/" * 3_000),
    ("app_name", "refused-name/x"),
    ("app_name", "😀"),
    ("app_name", "-rf"),
    ("app_name", "--help"),
    ("app_name", "con: - {}"),
    ("app_name", "</script>"),
    ("app_name", "\udcff"),
    ("app_name", "x\u202ey"),
    ("description", "two\nlines"),
    ("description", "'\nowner: 'me"),
    ("description", "x" * 10_000),
    ("owner", "'; touch {marker}; '"),
    ("owner", "${file('/etc/passwd')}"),
    ("github_repository", "../../x"),
    ("github_repository", "o/r:environment:prod*"),
    ("aws_account_id", "12345678901"),
    ("aws_region", "us-east-9"),
    ("domain_name", "x.com; touch {marker}"),
    ("domain_name", "example.com\n"),
]


def first(answers: list[tuple[str, str]], count: int) -> list[Any]:
    """All of them; those after the first few are left to `make test`."""
    return [*answers[:count], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in answers[count:])]


def answer(text: str, sandbox: Sandbox) -> str:
    """The hostile answer with the marker's path in it."""
    return text.replace("{marker}", str(sandbox.marker))


def assert_refused(result: subprocess.CompletedProcess[str], field: str, sandbox: Sandbox, before: set[str]) -> None:
    """Exit 1, one line of ours, nothing made and nothing run."""
    assert result.returncode == 1, result.stderr
    assert not sandbox.marker.exists()
    assert sandbox.left() == before
    assert list(sandbox.work.iterdir()) == []
    assert "pre_gen_project.py" not in result.stderr  # no traceback of ours
    lines = [line for line in result.stderr.splitlines() if " — for example " in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"  {field}: ")
    assert result.stderr.startswith("\nThis answer cannot be used:\n")


# What Cookiecutter itself makes of a replayed name that no folder can have: no words of ours.
NO_FOLDER = ["", "..", "é" * 300, "ab/" * 3_000]


# Jinja, which is text in answers that are typed, replayed or given to make project.
JINJA = [
    ("app_name", "con: - {{}}"),
    ("app_name", "{{"),
    ("app_name", "{% raw %}"),
    ("app_name", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    ("app_name", "{{ cookiecutter.__init__.__globals__.__builtins__.__import__('os').system('touch {marker}') }}"),
    ("app_name", "{{ cycler.__init__.__globals__.os.system('touch {marker}') }}"),
    ("owner", "{{ lipsum.__globals__['os'].system('touch {marker}') }}"),
    ("domain_name", "#% if"),
]


@pytest.mark.parametrize(("field", "text"), first(HOSTILE, 12))
def test_on_the_command_line(sandbox: Sandbox, field: str, text: str) -> None:
    before = sandbox.left()
    result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", f"{field}={answer(text, sandbox)}")
    assert_refused(result, field, sandbox, before)


def replay(sandbox: Sandbox, *options: str, **answers: object) -> subprocess.CompletedProcess[str]:
    """Replay the defaults with these answers. Replay skips cookiecutter's own checks, and its answers stay literal."""
    context = template.context()
    defaults = {name: value[0] if isinstance(value, list) else value for name, value in context.items()}
    file = sandbox.home / "replay.json"
    file.write_text(
        json.dumps({"cookiecutter": defaults | {"github_repository": "my-org/my-app"} | answers}), encoding="utf-8"
    )
    return sandbox.run(*COOKIECUTTER, str(template.ROOT), "--replay-file", str(file), *options)


REPLAYED = [
    ("app_name", "../x"),
    ("app_name", "a/b/c"),
    ("app_name", "a/../b/c"),
    *HOSTILE[:4],
    *JINJA[:3],
    ("app_name", "a/" * 100 + "b"),
    ("app_name", "x\r/y\n/z"),
    *(("app_name", name) for name in NO_FOLDER),
    ("aws_account_id", "１２３４５６７８９０１２"),
]


@pytest.mark.parametrize(("field", "text"), first(REPLAYED, 4))
def test_in_a_replayed_file(sandbox: Sandbox, field: str, text: str) -> None:
    before = sandbox.left()
    result = replay(sandbox, **{field: answer(text, sandbox)})
    if field == "app_name" and text in NO_FOLDER:
        assert result.returncode == 1
        assert "_gen_project.py" not in result.stderr
        assert sandbox.left() == before
    else:
        assert_refused(result, field, sandbox, before)


@pytest.mark.slow
def test_folders_that_were_there_stay(sandbox: Sandbox) -> None:
    """Empty or not: only what Cookiecutter has made for the name that is refused is deleted."""
    (sandbox.work / "a").mkdir()
    (sandbox.work / "b" / "c").mkdir(parents=True)
    (sandbox.work / "b" / "mine").write_text("mine", encoding="utf-8")
    time.sleep(0.3)  # the hook takes an empty folder of the last 0.2 s for Cookiecutter's
    before = sandbox.left()
    for name in ("a/x", "a/x/y", "b/x/y", "b/c/x", f"../{sandbox.work.name}/a/x"):
        for result in (
            replay(sandbox, app_name=name),
            sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", f"app_name={name}"),
        ):
            assert f"app_name: {name!r}" in result.stderr
            assert sandbox.left() == before


def test_an_output_folder_that_was_asked_for_stays(sandbox: Sandbox) -> None:
    result = replay(sandbox, "--output-dir", "new/out", app_name="a/b")
    assert "app_name: 'a/b'" in result.stderr
    assert sorted(str(path.relative_to(sandbox.work)) for path in sandbox.work.rglob("*")) == ["new", "new/out"]


@pytest.mark.slow
def test_a_replay_without_what_is_computed_is_a_render(sandbox: Sandbox) -> None:
    """A file that somebody wrote, or an older version of the template."""
    answers = {name: value for name, value in template.context().items() if not name.startswith("__")}
    answers |= {name: value[0] for name, value in template.questions().items() if isinstance(value, list)}
    file = sandbox.home / "replay.json"
    file.write_text(json.dumps({"cookiecutter": answers | {"github_repository": "my-org/my-app"}}), encoding="utf-8")
    result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--replay-file", str(file))
    assert result.returncode == 0, result.stderr
    assert (sandbox.work / "my-app" / "project.yaml").exists()


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("feature_flags", "evidently", "AWS shut CloudWatch Evidently down in October 2025"),
        ("incident_management", "opsgenie", "April 2027"),
        ("environments", "qa+prod", "one of dev+staging+prod"),
        ("license", "../../x", "one of proprietary"),
        ("aws_account_id", 12345678901, "text, in quotes"),
    ],
)
def test_a_choice_that_is_no_more_is_explained_when_it_is_replayed(
    sandbox: Sandbox, field: str, text: object, words: str
) -> None:
    before = sandbox.left()
    result = replay(sandbox, **{field: text})
    assert_refused(result, field, sandbox, before)
    assert words in result.stderr


@pytest.mark.parametrize(
    ("field", "text"), first([*JINJA, ("feature_flags", "evidently"), *HOSTILE, ("license", "$(touch {marker})")], 6)
)
def test_with_make_project(sandbox: Sandbox, field: str, text: str) -> None:
    """ARGS are checked before cookiecutter is called, and are never Jinja."""
    before = sandbox.left()
    text = answer(text, sandbox)
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    answers = {"PROJECT_ANSWERS": f"{field}={quoted}", "PROJECT_FOLDER": str(sandbox.work)}
    result = sandbox.run(sys.executable, "-m", "tools.make_project", **answers)
    assert_refused(result, field, sandbox, before)


LEGAL = [
    'x"; import os; os.system("touch {marker}")',
    "x'''; __import__('os').system('touch {marker}'); '''",
    "$(touch {marker}) `touch {marker}` ; touch {marker} #",
    "it's 'quoted' \\",
    "😀 </script> ]]> & : # - % @",
]


@pytest.mark.parametrize("text", [LEGAL[0], *(pytest.param(text, marks=pytest.mark.slow) for text in LEGAL[1:])])
def test_a_legal_description_renders_runs_nothing_and_comes_back(sandbox: Sandbox, text: str) -> None:
    description = answer(text, sandbox)[:200]
    result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", f"description={description}")
    assert result.returncode == 0, result.stderr
    settings = yaml.safe_load((sandbox.work / "my-app" / "project.yaml").read_text(encoding="utf-8"))
    assert settings["description"] == description
    assert not sandbox.marker.exists()
    assert {path.name for path in sandbox.work.iterdir()} == {"my-app"}


def test_several_mistakes_are_one_block(sandbox: Sandbox) -> None:
    result = sandbox.run(
        *COOKIECUTTER, str(template.ROOT), "--no-input", "app_name=../x", "aws_region=us-east-9", "aws_account_id=1"
    )
    lines = result.stderr.splitlines()
    assert lines[1] == "These answers cannot be used:"
    assert [line.split(":")[0].strip() for line in lines[2:5]] == ["app_name", "aws_account_id", "aws_region"]
    assert lines[5] == ""
    assert list(sandbox.work.iterdir()) == []


def test_a_project_that_exists_is_not_touched(sandbox: Sandbox) -> None:
    """Its own folder, in the way of a right answer and of a wrong one."""
    project = sandbox.work / "my-app"
    project.mkdir()
    (project / "mine").write_text("mine", encoding="utf-8")
    before = digest(project)
    for arguments in ([], ["owner=$"], ["--overwrite-if-exists", "owner=$"]):
        result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", *arguments)
        assert result.returncode == 1
        assert digest(project) == before


# What a team and its commands put into a project, and a second render would delete or replace.
MINE = [
    ".ops/bootstrap/terraform.tfstate",
    "infra/network/terraform.tfstate",
    "infra/ours/main.tf",
    "app/migrations/versions/0002_ours.py",
    "project.yaml",
    ".cruft.json",
    "ours.md",
    "a/deep/folder/file",
]


@pytest.mark.parametrize("options", [["-f"], ["-f", "-s"]], ids=" ".join)
@pytest.mark.parametrize("mine", [*MINE[:2], *(pytest.param(path, marks=pytest.mark.slow) for path in MINE[2:])])
def test_forced_into_a_folder_in_use_it_is_refused(sandbox: Sandbox, mine: str, options: list[str]) -> None:
    project = sandbox.work / "my-app"
    (project / mine).parent.mkdir(parents=True)
    (project / mine).write_text("mine", encoding="utf-8")
    before = digest(project)
    result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", *options)
    assert result.returncode == 1
    assert "`cruft update`" in result.stderr
    assert mine.split("/")[0] in result.stderr
    assert "pre_gen_project.py" not in result.stderr
    assert digest(project) == before


def test_a_second_render_over_the_first_is_refused(sandbox: Sandbox) -> None:
    assert sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input").returncode == 0
    before = digest(sandbox.work)
    for options in (["-f"], ["-f", "-s"], ["-f", "owner=others"]):
        result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", *options)
        assert result.returncode == 1
        assert "`cruft update`" in result.stderr
        assert digest(sandbox.work) == before


@pytest.mark.slow
def test_forced_into_a_repository_that_was_just_made_it_renders(sandbox: Sandbox) -> None:
    """As GitHub makes one: its history stays."""
    project = sandbox.work / "my-app"
    (project / ".git").mkdir(parents=True)
    (project / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    for name in ("README.md", "LICENSE", ".gitignore"):
        (project / name).write_text("GitHub's\n", encoding="utf-8")
    result = sandbox.run(*COOKIECUTTER, str(template.ROOT), "--no-input", "-f")
    assert result.returncode == 0, result.stderr
    assert (project / ".git" / "HEAD").exists()
    assert (project / "project.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.5.0", "2.4.0", "2.1.1", "1.7.3"])
def test_an_old_cookiecutter_is_told_so(sandbox: Sandbox, tmp_path: Path, version: str) -> None:
    """Real ones, from the package index."""
    uv = Path(sys.executable).with_name("uv")
    old = tmp_path / "old"
    subprocess.run([uv, "venv", "--quiet", old], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", old / "bin/python", f"cookiecutter=={version}", "setuptools<80"],
        check=True,
    )
    before = sandbox.left()
    result = sandbox.run(str(old / "bin" / "cookiecutter"), str(template.ROOT), "--no-input")
    assert result.returncode == 1
    assert f"needs Cookiecutter 2.6 or newer; this is {version}" in result.stderr
    assert "_gen_project.py" not in result.stderr
    assert sandbox.left() == before
