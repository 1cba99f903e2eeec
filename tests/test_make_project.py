"""`make project`, as a person runs it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.bakes import Bake, Project, digest
from tools import make_project, template

# The environment that runs the tests stands in for .venv; -o says that it is up to date.
MAKE = ["make", "--no-print-directory", "-C", str(template.ROOT), "-o", ".venv/.project", f"RUN={sys.executable}"]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, without answers of the person who runs the tests."""
    (tmp_path / "home").mkdir()
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ARGS", "OUTPUT", "MAKEFLAGS", "MAKELEVEL")
    }
    return {**kept, "HOME": str(tmp_path / "home"), "COLUMNS": "200"}


def run(home: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAKE, "project", *arguments], env=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_without_a_terminal_it_takes_the_defaults(home: dict[str, str], tmp_path: Path, bake: Bake) -> None:
    result = run(home, f"OUTPUT={tmp_path}/new folder")
    assert result.returncode == 0, result.stderr
    assert digest(tmp_path / "new folder" / "my-app") == digest(bake().path)
    printed = result.stdout.strip().splitlines()
    assert len(printed) <= 10
    assert f"cd '{tmp_path}/new folder/my-app'" in result.stdout


def test_args_are_the_answers_with_spaces_and_quotes(home: dict[str, str], tmp_path: Path) -> None:
    result = run(
        home,
        f"OUTPUT={tmp_path}",
        "ARGS=app_name=shop aws_region=eu-west-1 database=none owner='Team: it' "
        "description='It is \"5 $HOME $(id) $$ {{ 7*7 }} {{ 7 }} {% if \\'",
    )
    assert result.returncode == 0, result.stderr
    settings = Project(tmp_path / "shop", {}).settings
    assert settings["aws_region"] == "eu-west-1"
    assert settings["database"] == "none"
    assert settings["description"] == 'It is "5 $HOME $(id) $$ {{ 7*7 }} {{ 7 }} {% if \\'
    assert settings["owner"] == "Team: it"
    assert settings["github_repository"] == "my-org/shop"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("databse=none", "databse: no such question — did you mean database?"),
        ("region=eu-west-1", "did you mean aws_region?"),
        ("_template_version=9", "no such question"),
        ("shop", "name=value"),
        ("app_name", "name=value"),
        ("app_name='shop", "No closing quotation"),
        ("app_name=a1 app_name=b2", "answered twice"),
        ("feature_flags=evidently", "AWS shut CloudWatch Evidently down in October 2025"),
        ("incident_management=opsgenie", "April 2027"),
        ("database=postgres", "one of aurora-postgresql, none — for example aurora-postgresql"),
        ("aws_region=us-east-9", "for example us-east-"),
        ("app_name=", "2 to 20"),
    ],
)
def test_a_wrong_argument_is_an_error_in_words(
    home: dict[str, str], tmp_path: Path, arguments: str, words: str
) -> None:
    result = run(home, f"OUTPUT={tmp_path}/out", f"ARGS={arguments}")
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_all_wrong_arguments_are_said_at_once(home: dict[str, str], tmp_path: Path) -> None:
    result = run(home, f"OUTPUT={tmp_path}/out", "ARGS=databse=none app_name=../x feature_flags=evidently")
    assert all(word in result.stderr for word in ("databse", "app_name", "Evidently"))


def test_a_project_that_exists_is_left_alone(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "my-app").mkdir()
    result = run(home, f"OUTPUT={tmp_path}")
    assert result.returncode != 0
    assert "already exists" in result.stderr
    assert "OUTPUT=" in result.stderr
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "my-app").iterdir()) == []


def test_an_output_that_is_a_file_is_an_error_in_words(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(home, f"OUTPUT={tmp_path}/file")
    assert result.returncode != 0
    assert "OUTPUT" in result.stderr
    assert "Traceback" not in result.stderr


class Terminal:
    """`make project` on a terminal."""

    def __init__(self, home: dict[str, str], *arguments: str) -> None:
        """Start it."""
        self.end, inside = pty.openpty()
        self.process = subprocess.Popen(
            [*MAKE, "project", *arguments], env=home, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        self.shown = ""
        self._read = 0

    def wait_for(self, words: str, seconds: float = 120) -> None:
        """Read until the words appear after those that were waited for before."""
        until = time.monotonic() + seconds
        while (found := self.shown.find(words, self._read)) < 0:
            assert time.monotonic() < until, f"no {words!r} in {self.shown[self._read :]!r}"
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    read = os.read(self.end, 65536)
                except OSError:  # Linux: the other end is closed
                    read = b""
                assert read, f"ended without {words!r}: {self.shown}"
                self.shown += read.decode()
        self._read = found + len(words)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.end, f"{line}\n".encode())


def test_on_a_terminal_it_asks_and_asks_again_after_a_wrong_answer(home: dict[str, str], tmp_path: Path) -> None:
    labels = {name: words["__prompt__"].split("(")[0].strip()[:40] for name, words in template.labels().items()}
    answers = {"app_name": "shop", "description": "{{ it's typed }}", "database": "2", "aws_region": "eu-west-3"}
    wrong = {"app_name": "My Shop", "aws_region": "eu-west-9"}
    terminal = Terminal(home, f"OUTPUT={tmp_path}", "ARGS=owner='Typed {{ before }}'".replace("{{ before }}", "before"))
    for name in template.questions():
        terminal.wait_for(labels[name])
        if name in wrong:
            terminal.type(wrong[name])
            terminal.wait_for("for example")
            terminal.wait_for(labels[name])
        terminal.type(answers.get(name, ""))
    terminal.wait_for("shop is ready")
    assert terminal.process.wait(120) == 0
    settings = yaml.safe_load((tmp_path / "shop" / "project.yaml").read_text(encoding="utf-8"))
    assert settings["description"] == "{{ it's typed }}"
    assert settings["owner"] == "Typed before"
    assert settings["database"] == "none"
    assert settings["aws_region"] == "eu-west-3"
    assert settings["github_repository"] == "my-org/shop"


def test_ctrl_c_stops_in_words_and_makes_nothing(home: dict[str, str], tmp_path: Path) -> None:
    terminal = Terminal(home, f"OUTPUT={tmp_path}/out")
    terminal.wait_for("Name of the application")
    terminal.type("\x04")  # end of input
    terminal.wait_for("nothing was made")
    assert terminal.process.wait(120) != 0
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{{",
        "{% raw %}",
        "{% endraw %}",
        '"',
        "\\",
        "\n",
        "😀",
        "\udc80",
        "{# x #}",
    ],
)
def test_literal_is_the_same_text_after_jinja(value: str) -> None:
    from cookiecutter.utils import create_env_with_context

    environment = create_env_with_context({"cookiecutter": template.context()})
    assert environment.from_string(make_project.literal(value)).render() == value
