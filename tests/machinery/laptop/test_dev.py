"""`make dev`: in a folder with any name, whatever this person's environment says, and again after each edit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ops import answers
from ops.laptop.dev import ROOT

MIGRATIONS = "app/tests/database/test_migrations.py"
SECONDS = 90  # Of a machine that does much else.
# What people have exported, and what has nothing to do with this laptop's stand-ins.
PERSON = {
    "AWS_PROFILE": "of-another-company",
    "AWS_DEFAULT_REGION": "mars-north-1",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "PGSERVICE": "of-another-company",
    "PGSSLMODE": "disable",
    "WEB_CONCURRENCY": "4",
    "ENVIRONMENT": "production",
}


@pytest.fixture
def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of a render that it needs."""
    folder = tmp_path / "50% of it, %(here)s ü"
    for name in ("app", "ops", "role_manager"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data", "tests"))
    shutil.copyfile(ROOT / "project.yaml", folder / "project.yaml")
    return folder


@contextlib.contextmanager
def dev(folder: Path, port: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **PERSON, "PORT": port, "PYTHONPATH": str(folder)}
    process = subprocess.Popen([sys.executable, "-m", "ops.laptop.dev"], cwd=folder, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=SECONDS)


def answer(port: str, path: str, process: subprocess.Popen[bytes], wanted: str) -> None:
    """Return as soon as the answer has what is wanted."""
    deadline = time.monotonic() + SECONDS
    seen = ""
    while wanted not in seen:
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{path} still answers {seen!r}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as found:
            seen = found.read().decode()
        time.sleep(0.02)


def test_it_runs_and_runs_again_after_an_edit(copy: Path, free_port: str) -> None:
    with dev(copy, free_port) as process:
        answer(free_port, "/ready", process, "connected to app as app")
        health = copy / "app" / "routes" / "health.py"
        good = health.read_text(encoding="utf-8")
        health.write_text(good.replace('"ok"', '"edited"'), encoding="utf-8")
        answer(free_port, "/health", process, "edited")
        health.write_text("half an edit(", encoding="utf-8")
        time.sleep(1)
        health.write_text(good, encoding="utf-8")
        answer(free_port, "/health", process, '"ok"')
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SECONDS) == 0


def test_the_roles_of_its_database(copy: Path, free_port: str) -> None:
    """`make roles ENV=laptop`: beside the service, and with nothing running."""

    def roles(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ops.laptop.roles", *arguments]
        environment = {**os.environ, **PERSON, "PYTHONPATH": str(folder)}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=SECONDS
        )

    folder = copy
    with dev(copy, free_port) as process:
        answer(free_port, "/ready", process, "connected to app as app")
        done = roles("check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "app (login): proven" in done.stdout
        declared = (copy / "project.yaml").read_text(encoding="utf-8")
        more = declared.replace("\n  roles:\n", "\n  roles:\n    auditor: { profile: read-only }\n", 1)
        assert more != declared
        (copy / "project.yaml").write_text(more, encoding="utf-8")
        done = roles("plan")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "~ role auditor" in done.stdout
        assert roles("check").returncode == 2
    done = roles("apply", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["result"] == "applied"
    assert "auditor (login): proven" in roles("check").stdout
    assert not (copy / "ops" / "laptop" / "data" / "postgres" / "running.json").exists()


def test_the_variables_of_project_yaml_reach_the_service(copy: Path, free_port: str) -> None:
    """Those of all environments, also on this laptop; what this shell says wins."""
    settings = yaml.safe_load((copy / "project.yaml").read_text(encoding="utf-8"))
    settings["service"] = {"variables": {"GREETING": "hello", "FAREWELL": "bye", "ENVIRONMENT": "refused elsewhere"}}
    (copy / "project.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = "import json, os; print(json.dumps(dict(os.environ)))"
    printed = subprocess.run(
        [sys.executable, "-m", "ops.laptop.dev", sys.executable, "-c", command],
        cwd=copy,
        env={**os.environ, "FAREWELL": "see you", "PORT": free_port, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    given = json.loads(printed.splitlines()[-1])
    assert [given[name] for name in ("GREETING", "FAREWELL", "ENVIRONMENT")] == ["hello", "see you", "laptop"]


def test_secrets_come_from_a_file_that_only_its_owner_reads(copy: Path, free_port: str) -> None:
    settings = yaml.safe_load((copy / "project.yaml").read_text(encoding="utf-8"))
    settings["service"] = {"secrets": ["API_KEY", "SESSION_KEY"]}
    settings |= {"database": "none", "feature_flags": "none"}
    (copy / "project.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name in ("database.py", "flags.py"):
        (copy / "ops/laptop/dev" / name).unlink()

    def run(**shell: str) -> subprocess.CompletedProcess[str]:
        command = "import os; print(os.environ['API_KEY'], os.environ['SESSION_KEY'])"
        return subprocess.run(
            [sys.executable, "-m", "ops.laptop.dev", sys.executable, "-c", command],
            cwd=copy,
            env={**os.environ, "PORT": free_port, "PYTHONPATH": str(copy), **shell},
            capture_output=True,
            text=True,
            check=False,
        )

    file = copy / ".secrets.env"
    first = run()
    assert (first.returncode, first.stderr) == (
        1,
        ".secrets.env has no value of API_KEY, SESSION_KEY: write NAME=value lines into it.\n",
    )
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("# mine\nAPI_KEY=a=b\nSESSION_KEY = c\n", encoding="utf-8")
    assert run().stdout == "a=b c\n"
    assert run(API_KEY="of the shell").stdout == "of the shell c\n"
    file.chmod(0o640)
    refused = run()
    assert refused.returncode == 1
    assert "chmod 600 .secrets.env" in refused.stderr
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/.secrets.env" in ignored


@pytest.mark.parametrize("port", ["x", "0", "-1", "65536", "80 00", "tcp://10.0.0.1:8000", "８０００"])
def test_a_wrong_port_is_told_in_a_sentence(port: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.laptop.dev"],
        cwd=ROOT,
        env={**os.environ, "PORT": port},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"PORT is {port!r}: a number from 1 to 65535 is needed. Say it: make dev PORT=8000\n"


def test_a_field_more_is_an_edit_in_three_files(copy: Path, free_port: str) -> None:
    """The table, the route and the migration, which Alembic writes: as docs/runbooks/migrate.md tells."""
    before = {path: path.read_bytes() for path in copy.rglob("*.py")}
    edits = {
        "models.py": ('    Column("created_at"', '    Column("colour", Text, nullable=False, server_default="red"),\n'),
        "routes/items.py": ("    description: str = ", '    colour: str = "red"\n'),
    }
    for name, (place, line) in edits.items():
        file = copy / "app" / name
        text = file.read_text(encoding="utf-8")
        assert place in text
        text = text.replace(place, line + place, 1)
        if name == "routes/items.py":
            text = text.replace("    created_at: datetime", "    colour: str\n    created_at: datetime", 1)
        file.write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    write = [sys.executable, "-m", "app.migrate", "revision", "--autogenerate", "-m", "Add a colour!"]
    subprocess.run([sys.executable, "-m", "ops.laptop.dev", *write], cwd=copy, env=environment, check=True)
    changed = {str(path.relative_to(copy)) for path in copy.rglob("*.py") if before.get(path) != path.read_bytes()}
    assert changed == {f"app/{name}" for name in edits} | {"app/migrations/versions/0002_add_a_colour.py"}
    with dev(copy, free_port) as process:
        answer(free_port, "/ready", process, "connected to app as app")
        headers = {"Content-Type": "application/json"}
        body = b'{"name": "x", "colour": "blue"}'
        request = urllib.request.Request(f"http://127.0.0.1:{free_port}/items", body, headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as made:
            assert json.load(made)["colour"] == "blue"
        answer(free_port, "/items", process, '"colour":"blue"')


def within(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with these words, in a copy of the repository."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env={**os.environ, **PERSON, "PYTHONPATH": str(copy)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


READERS = [
    ["-m", "ops.laptop.dev", "true"],
    ["-m", "ops.laptop.image"],
    ["-m", "ops.costs"],
    ["-m", "ops.diagram.draw"],
    ["-m", "ops.package"],
    ["-m", "ops.laptop.roles", "plan"],
]


@pytest.mark.parametrize("program", READERS)
@pytest.mark.parametrize(
    "text", ["app_name: [\n", "", "- a\n", "app_name:\naws_region:\nenvironments:\n", "a: \udcff\n"]
)
def test_wrong_project_yaml_is_said_in_words(copy: Path, program: list[str], text: str) -> None:
    (copy / "project.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    done = within(copy, *program)
    assert done.returncode == 1
    assert "project.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", READERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("workers: {}\n", "workers: { mail: { command: [x], min_tasks: 0, min_tasks: 1 } }\n"),
        ("workers: {}\n", "workers:\n  mail:\n    command: [x]\n    min_tasks: 0\n    'min_tasks': 1\n"),
    ],
)
def test_a_key_that_is_there_twice_is_named(copy: Path, program: list[str], old: str, new: str) -> None:
    file = copy / "project.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    done = within(copy, *program)
    assert done.returncode != 0
    line = text.partition(old)[0].count("\n") + new.count("\n")
    assert "min_tasks is there more than once" in done.stderr
    assert f"line {line}, column" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_alias_is_no_key_that_is_there_twice(tmp_path: Path) -> None:
    file = tmp_path / "aliases.yaml"
    file.write_text(
        "a: &a { <<: &b { x: 1, y: 2 }, x: 3 }\nb: { <<: *a, y: 4 }\nc: [*a, *a, *b]\nd: &d [*d]\n1: x\n'1': y\n"
    )
    found = answers.read(file)
    assert (found["a"], found["b"]) == ({"x": 3, "y": 2}, {"x": 3, "y": 4})
    assert found.keys() == {"a", "b", "c", "d", 1, "1"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("  variables: {}", "  variables: { RETRIES: 5 }", "service.variables"),
        ("  variables: {}", "  variables: [RETRIES]", "service.variables"),
        ("  variables: {}", "  variables: { 1: 'x' }", "service.variables"),
        ("  variables: {}", "  variables: { 'A=B': 'x' }", "service.variables"),
        ("  variables: {}", '  variables: { A: "x\\0" }', "service.variables"),
        ("workers: {}", "workers: { 1: { command: [x] } }", "workers"),
        ("  secrets: []", "  secrets: API_KEY", "service.secrets"),
        ("  schemas: [app]", "  schemas: [pg_app]", "database_roles.schemas"),
        ("profile: read-write", "profile: read-only", "database_roles.roles"),
    ],
)
def test_a_wrong_setting_is_named(copy: Path, old: str, new: str, key: str) -> None:
    file = copy / "project.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    done = within(copy, "-m", "ops.laptop.dev", "true")
    assert done.returncode == 1
    assert key in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["2026-13-01", "9" * 5000, "[" * 5000 + "]" * 5000])
def test_a_value_that_is_none_is_said(tmp_path: Path, value: str) -> None:
    """What looks like a date, a number or a list, and cannot be one."""
    file = tmp_path / "project.yaml"
    file.write_text(f"owner: {value}\n", encoding="utf-8")
    with pytest.raises(yaml.YAMLError):
        answers.read(file)


def test_a_place_that_cannot_be_written_is_said(copy: Path) -> None:
    data = copy / "ops" / "laptop" / "data"
    data.write_text("no folder")  # As root one could write into a folder that is read-only.
    done = within(copy, "-m", "ops.laptop.dev", "true")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(data) in done.stderr


def test_a_migration_that_fails_is_said_last(copy: Path) -> None:
    (copy / "app" / "migrations" / "versions" / "0002_wrong.py").write_text(
        "revision = '0002'\ndown_revision = '0001'\n\n\ndef upgrade():\n    raise ValueError('no such column')\n",
        encoding="utf-8",
    )
    done = within(copy, "-m", "ops.laptop.dev", "true")
    assert done.returncode == 1
    assert "no such column" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("The migrations failed: ")


def test_tests_of_migrations_pass_with_one_that_a_team_wrote(copy: Path) -> None:
    """As docs/runbooks/migrate.md writes it: Alembic names it by its number and words."""
    shutil.copytree(ROOT / "app" / "tests", copy / "app" / "tests")
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    models = copy / "app" / "models.py"
    text = models.read_text(encoding="utf-8")
    models.write_text(
        text.replace('    Column("created_at"', '    Column("colour", Text),\n    Column("created_at"'),
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    write = ["-m", "app.migrate", "revision", "--autogenerate", "-m", "add a colour"]
    for command in (
        ["-m", "ops.laptop.dev", sys.executable, *write],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "rollback or branch", MIGRATIONS],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=copy, env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert (copy / "app" / "migrations" / "versions" / "0002_add_a_colour.py").exists()


def test_what_is_sent_to_a_worker_is_taken(copy: Path) -> None:
    """A route that sends, as docs/runbooks/queues.md has it, works here and in the service's tests."""
    file = copy / "project.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("workers: {}", "workers:\n  send-mail: { command: [python, -m, app.worker, send-mail] }"),
        encoding="utf-8",
    )
    for name in ("database.py", "flags.py", "files.py"):
        (copy / "ops/laptop/dev" / name).unlink()
    send = "import asyncio; from app.worker import Queue; asyncio.run(Queue('send-mail').send('to nobody'))"
    done = within(copy, "-m", "ops.laptop.dev", sys.executable, "-c", send)
    assert done.returncode == 0, done.stderr
    assert "Sent to send-mail: to nobody\n" in done.stderr
    call = "import boto3, os; url = os.environ['QUEUE_URL_SEND_MAIL']; boto3.client('sqs', os.environ['AWS_REGION'])."
    for words, refused in (
        ("send_message(QueueUrl=url + 's', MessageBody='x')", "QueueDoesNotExist"),
        ("send_message(QueueUrl=url, MessageBody='')", "MissingParameter"),
        ("receive_message(QueueUrl=url)", "UnsupportedOperation"),
    ):
        done = within(copy, "-m", "ops.laptop.dev", sys.executable, "-c", call + words)
        assert done.returncode != 0
        assert refused in done.stderr, done.stderr
