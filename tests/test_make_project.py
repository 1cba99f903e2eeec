"""`make project`, as a person runs it."""

from __future__ import annotations

import os
import pty
import select
import shlex
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
        name: value
        for name, value in os.environ.items()
        if name not in ("ARGS", "OUTPUT", "MAKEFLAGS", "MAKELEVEL", "COOKIECUTTER_CONFIG")
    }
    return {**kept, "HOME": str(tmp_path / "home"), "COLUMNS": "200"}


def run(home: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAKE, "project", *arguments],
        env=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_without_a_terminal_it_takes_the_defaults(home: dict[str, str], tmp_path: Path, bake: Bake) -> None:
    result = run(home, f"OUTPUT={tmp_path}/new folder")
    assert result.returncode == 0, result.stderr
    made = tmp_path / "new folder" / "my-app"
    (made / ".cruft.json").unlink(missing_ok=True)  # where the template is a clone: see test_record.py
    assert digest(made) == digest(bake().path)
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
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = run(home, f"OUTPUT={tmp_path}/file")
    assert result.returncode != 0
    assert "OUTPUT" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("whose", ["OUTPUT", "HOME", "TMPDIR"])
def test_a_folder_that_cannot_be_written_to_is_named_by_what_says_it(
    home: dict[str, str], tmp_path: Path, whose: str
) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    result = run(home | {whose: str(tmp_path / "shut")}, f"OUTPUT={tmp_path}/{'shut' if whose == 'OUTPUT' else 'out'}")
    assert result.returncode != 0
    assert f"{whose}: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("whose", ["OUTPUT", "HOME"])
def test_a_file_in_the_way_is_named_by_what_says_it(home: dict[str, str], tmp_path: Path, whose: str) -> None:
    """As root, too."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = run(home | {whose: str(tmp_path / "file")}, f"OUTPUT={tmp_path}/{'file' if whose == 'OUTPUT' else 'out'}")
    assert result.returncode != 0
    line = next(line for line in result.stderr.splitlines() if " — " in line)
    assert line.startswith(f"{whose}: {tmp_path}/file")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/home/me/.cookiecutter_replay/x.json"), "HOME: /home/me/.cookie"),
        (OSError(28, "No space left on device", "/out/my-app/Makefile"), "OUTPUT: /out/my-app/Makefile — No space"),
        (OSError(30, "Read-only file system", "/"), "OUTPUT: / — Read-only file system"),
        (OSError(28, "No space left on device", "/scratch/tmpx.py"), "TMPDIR: /scratch/tmpx.py — No space"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "TMPDIR names a folder"),
        (PermissionError(13, "Permission denied", "/elsewhere/x"), "/elsewhere/x — Permission denied"),
    ],
)
def test_a_refused_file_is_explained(monkeypatch: pytest.MonkeyPatch, error: OSError, words: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("tempfile.tempdir", "/scratch")
    assert words in make_project.explained(error, Path("/out"))
    wrapped = OSError("Unable to create directory at …")
    wrapped.__cause__ = error
    assert words in make_project.explained(wrapped, Path("/out"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["it's 100 %", "-x", 'a "quoted" $HOME `id`', "ünïcödé 😀", "new\nline", "#;&|"])
def test_an_output_of_any_name_is_the_folder_of_that_name(home: dict[str, str], tmp_path: Path, folder: str) -> None:
    result = run(home, f"OUTPUT={tmp_path}/{folder}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / folder / "my-app" / "project.yaml").exists()
    told = result.stdout.split("  cd ", 1)[1].split("\n  git init")[0]
    assert shlex.split(told) == [f"{tmp_path}/{folder}/my-app"]


def test_an_output_with_jinja_in_its_name_is_refused_in_words(home: dict[str, str], tmp_path: Path) -> None:
    """Cookiecutter renders the paths of what it copies."""
    result = run(home, f"OUTPUT={tmp_path}/{{{{ 7*7 }}}}")
    assert result.returncode != 0
    assert "OUTPUT: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("{*"))


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"default_context: 5\n", "default_context: 5 "),
        (b"default_context: [a]\n", "default_context: ['a'] "),
        (b"default_context: [\n", "Unable to parse YAML file"),
        (b"default_context:\n  owner: \xff\n", "invalid start byte"),
        (b"default_context:\n  _copy_without_render: []\n", "_copy_without_render "),
    ],
)
def test_a_persons_own_defaults_that_are_none_are_named(
    home: dict[str, str], tmp_path: Path, text: bytes, said: str
) -> None:
    file = Path(home["HOME"], ".cookiecutterrc")
    file.write_bytes(text)
    result = run(home, f"OUTPUT={tmp_path}/new")
    assert result.returncode != 0
    assert str(file) in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_of_defaults_is_not_taken_for_the_output(home: dict[str, str], tmp_path: Path) -> None:
    result = run({**home, "COOKIECUTTER_CONFIG": str(tmp_path)}, f"OUTPUT={tmp_path}/new")
    assert f"{tmp_path} — Is a directory — Cookiecutter reads" in result.stderr
    assert "OUTPUT" not in result.stderr


def test_answers_outside_args_are_not_passed_over(home: dict[str, str], tmp_path: Path) -> None:
    result = run(home, f"OUTPUT={tmp_path}/new", "app_name=shop", "aws_region=eu-west-1")
    assert result.returncode != 0
    assert 'app_name, aws_region: answers stand in ARGS — for example make project ARGS="app_name=…"' in result.stderr
    assert not (tmp_path / "new").exists()
