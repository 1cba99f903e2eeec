"""A command in its container: what it sees, what it may not do, and that its environment is left alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.machinery import ROOT

CONTAINER = ROOT / "ops/rehearsal/simulator/container.py"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "own.py").write_text("print('own')", encoding="utf-8")
    return folder


def run(image: Path, code: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    specification: dict[str, Any] = {
        "directory": str(image),
        "places": {},
        "published": {},
        "user": None,
        "writable": None,
        "packages": None,
    }
    file = image.parent / "specification.json"
    file.write_text(json.dumps(specification | changes), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-B", str(CONTAINER), str(file), "python", "-c", code],
        env={"ONLY": "this"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_is_exactly_what_is_given(image: Path) -> None:
    result = run(image, "import os; print({k: v for k, v in os.environ.items() if k != 'LC_CTYPE'})")
    assert result.stdout.strip() == "{'ONLY': 'this'}"


def test_a_module_of_the_image_runs_as_with_python_m(image: Path) -> None:
    file = image.parent / "specification.json"
    run(image, "pass")
    command = [sys.executable, "-B", str(CONTAINER), str(file)]
    assert (
        subprocess.run([*command, "python", "-m", "own"], capture_output=True, text=True, check=True).stdout == "own\n"
    )
    refused = subprocess.run([*command, "node", "server.js"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Python commands only" in refused.stderr


@pytest.mark.parametrize(
    "change",
    [
        "open('{}', 'w')",
        "import os; os.open('{}', os.O_WRONLY | os.O_CREAT)",
        "import os; os.mkdir('{}')",
        "import pathlib; pathlib.Path('own.py').rename('{}')",
        "open('own.py', 'a')",
        "import os; os.remove('own.py')",
    ],
)
def test_only_volumes_are_writable(image: Path, tmp_path: Path, change: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    outside = image.parent / "outside"
    result = run(image, change.format(outside), writable=[str(volume)])
    assert "Read-only file system" in result.stderr
    assert run(image, f"open('{volume}/x', 'w').write('1')", writable=[str(volume)]).returncode == 0
    assert run(image, "print(open('own.py').read())", writable=[str(volume)]).returncode == 0


def test_names_and_ports_lead_to_where_they_are(image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            with server.accept()[0] as client:
                client.sendall(b"found")

        threading.Thread(target=answer, daemon=True).start()
        places = {"db.example.invalid:5432": ["127.0.0.1", port]}
        code = "import socket; print(socket.create_connection(('db.example.invalid', 5432)).recv(9))"
        assert run(image, code, places=places).stdout.strip() == "b'found'"
    assert "gaierror" in run(image, code).stderr


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_listens_where_its_port_is_published(image: Path, loop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code = f"""
import asyncio, {loop}
async def main():
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, '0.0.0.0', 8000)
    print(server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, '127.0.0.1', 8000)
({loop}.run if '{loop}' == 'uvloop' else asyncio.run)(main())
"""
    pytest.importorskip(loop)
    result = run(image, code, published={"8000": port})
    assert result.stdout.strip() == str(port), result.stderr


def test_packages_that_the_container_would_not_have_are_hidden(image: Path) -> None:
    assert run(image, "import yaml").returncode == 0
    hidden = run(image, "import own, json; import yaml", packages=["boto3"])
    assert "No module named 'yaml'" in hidden.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user takes root")
def test_the_user_is_the_declared_one(image: Path) -> None:
    assert run(image, "import os; print(os.getuid(), os.getgid())", user=10001).stdout.strip() == "10001 10001"


def test_python_that_the_command_starts_is_in_the_same_container(image: Path) -> None:
    started = "import subprocess; print(subprocess.run(['python', '-c', {code!r}], capture_output=True, text=True))"
    result = run(image, started.format(code="import own; open('own.py', 'a')"), writable=[])
    assert "own" in result.stdout
    assert "Read-only file system" in result.stdout
