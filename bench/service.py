"""The service of a rendered project against two peers: bare Flask, and SQLModel as its own template uses it.

    Flask     Flask, gunicorn (sync), psycopg with its pool and autocommit (one round trip for a statement)
    SQLModel  FastAPI, uvicorn, SQLModel on psycopg, as in full-stack-fastapi-template: a session for each request,
              plain functions in threads

All run here, one worker process each, on the same PostgreSQL over verified TLS, and answer the same three requests:
/health, reading one row, writing one row. wrk keeps 50 connections busy on the loopback interface. The service writes
its access log and metrics, the peers write nothing. CPU is the application's processor time for a request, the figure
that a busy machine disturbs least.

Rounds alternate between the applications, so that a busy moment of the machine meets all; the medians are printed,
and again as JSON with --json. Exit status 1 when one of GOALS is missed.

Needs wrk (Debian: `apt-get install wrk`) and two processors. PostgreSQL's own TLS is used where a server built with
OpenSSL is found (a distribution's), else ops/laptop/postgres's front, which slows down all.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools import template

CONNECTIONS = 50
# How many times the peer's the service must do, in requests a second and in requests for a second of processor time.
GOALS = {"Flask": {"/health": 1.5, "read": 1.2, "write": 1.2}, "SQLModel": {"read": 2.5, "write": 2.5}}
START_SECONDS = 1.2
QUIET = 1.5
MEMORY_MIB = 80
PEER_REQUIREMENTS = [
    *("Flask==3.1.3", "gunicorn==27.0.1", "psycopg[binary,pool]==3.3.9"),
    *("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "sqlmodel"),
]
FLASK = """
import os
from flask import Flask, abort, jsonify, request
from psycopg_pool import ConnectionPool

app = Flask(__name__)
pool = ConnectionPool(os.environ["DSN"], min_size=1, max_size=10, kwargs={"autocommit": True}, open=True)
COLUMNS = ("id", "name", "description", "created_at")

@app.get("/health")
def health():
    return jsonify(status="ok")

@app.get("/items/<int:item_id>")
def read(item_id):
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT id, name, description, created_at FROM items WHERE id = %s", (item_id,)
        ).fetchone()
    if row is None:
        abort(404)
    return jsonify(dict(zip(COLUMNS, row)))

@app.post("/items")
def write():
    with pool.connection() as connection:
        row = connection.execute(
            "INSERT INTO items (name, description) VALUES (%s, '') RETURNING id, name, description, created_at",
            (request.get_json()["name"],),
        ).fetchone()
    return jsonify(dict(zip(COLUMNS, row))), 201
"""
SQLMODEL = """
import os
from collections.abc import Generator
from datetime import datetime
from typing import Annotated
import psycopg
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import Column, DateTime, FetchedValue
from sqlmodel import Field, Session, SQLModel, create_engine

engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["DSN"]), pool_size=10)
app = FastAPI()

class ItemCreate(SQLModel):
    name: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=2000)

class Item(ItemCreate, table=True):
    __tablename__ = "items"
    id: int | None = Field(default=None, primary_key=True)
    created_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), server_default=FetchedValue())
    )

class ItemPublic(ItemCreate):
    id: int
    created_at: datetime

def get_db() -> Generator[Session, None, None]:
    with Session(engine) as session:
        yield session

SessionDep = Annotated[Session, Depends(get_db)]

@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}

@app.get("/items/{id}", response_model=ItemPublic)
def read_item(session: SessionDep, id: int):
    item = session.get(Item, id)
    if not item:
        raise HTTPException(status_code=404, detail="Item not found")
    return item

@app.post("/items", response_model=ItemPublic, status_code=201)
def create_item(*, session: SessionDep, item_in: ItemCreate):
    item = Item.model_validate(item_in)
    session.add(item)
    session.commit()
    session.refresh(item)
    return item
"""
POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name": "measured"}'
"""
# Runs inside the render's environment: prints what a client needs, then waits for its end.
DATABASE = """
import json, os, sys
from ops.laptop.dev import laptop
from ops.laptop.dev.database import create_roles, migrate, variables
from ops.laptop.postgres import LocalPostgres, StartFailedError, installations

def start():
    for installation in installations():
        try:
            server = LocalPostgres(installation.version, direct_tls=True)
            server.start()
            return server, "its own TLS"
        except StartFailedError:
            pass
    server = LocalPostgres()
    server.start()
    return server, "the TLS of ops/laptop/postgres"

server, tls = start()
try:
    environment = json.loads(sys.argv[1])
    create_roles(server)
    migrate(server, environment)
    token = server.iam_token("app")
    # The peer opens all its connections within the token's fifteen minutes.
    dsn = server.dsn("app", token) + "&options=" + "-csearch_path%3Dapp"
    print(json.dumps({"variables": variables(server), "dsn": dsn, "version": server.version, "tls": tls}), flush=True)
    sys.stdin.read()
finally:
    server.stop()
"""


@dataclass
class Application:
    """How to start one of the measured applications."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    start_seconds: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    p50_ms: dict[str, list[float]] = field(default_factory=dict)
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)


def ask(url: str, body: bytes | None = None) -> bytes:
    """Send one request; return the body of a good answer."""
    address = urllib.parse.urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=5)) as connection:
        method, headers = ("POST", {"Content-Type": "application/json"}) if body else ("GET", {})
        connection.request(method, address.path, body, headers)
        return connection.getresponse().read()


@contextlib.contextmanager
def running(application: Application, folder: Path) -> Iterator[int]:
    """Run an application; note how long it takes to answer and how much memory it has in the end."""
    started = time.monotonic()
    with (folder / f"{application.port}.log").open("wb") as log:
        process = subprocess.Popen(
            application.command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], **application.environment},
            stdout=log,
            stderr=log,
        )
    try:
        while True:
            with contextlib.suppress(OSError):
                ask(f"http://127.0.0.1:{application.port}/health")
                break
            if process.poll() is not None or time.monotonic() > started + 30:
                raise SystemExit(f"{application.name} did not start:\n{Path(log.name).read_text()[-2000:]}")
            time.sleep(0.005)
        application.start_seconds.append(time.monotonic() - started)
        yield process.pid
        application.memory_mib.append(memory(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def memory(process: int) -> float:
    """Return the proportional set size of a process and its children, in MiB."""
    total = 0.0
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total += int(line.split()[1]) / 1024
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return total + sum(memory(int(child)) for child in children)


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process and its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def load(url: str, seconds: int, script: Path | None) -> tuple[float, float, float, int]:
    """Return requests per second, p50 and p99 in milliseconds, and the number of requests.

    Stops the run when an answer is bad.
    """
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    if script:
        command[1:1] = ["-s", str(script)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # A timeout of wrk's is two seconds: an application that is so slow under this load shows it in its figures.
    if bad := re.search(r"Non-2xx.*|Socket errors: (?!connect 0, read 0, write 0).*", output):
        raise SystemExit(f"{url}: {bad.group()}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}

    def found(pattern: str) -> tuple[str, ...]:
        match = re.search(pattern, output)
        if not match:
            raise SystemExit(f"wrk printed something unexpected:\n{output}")
        return match.groups()

    def percentile(name: str) -> float:
        value, unit = found(rf"{name}%\s+([\d.]+)(us|ms|s)")
        return float(value) * units[unit]

    rate, number = found(r"Requests/sec:\s+([\d.]+)")[0], found(r"(\d+) requests in")[0]
    if number == "0":
        raise SystemExit(f"{url} answered nothing in {seconds} s: the machine is too busy to measure.")
    return float(rate), percentile("50"), percentile("99"), int(number)


def prepare(folder: Path, interpreter: str) -> tuple[Path, Path]:
    """Render a project and install what both applications need; return its root and its Python."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "cookiecutter",
            "--no-input",
            "-o",
            str(folder),
            str(template.ROOT),
            "app_name=measured",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    root = folder / "measured"
    python = folder / "venv" / "bin" / "python"
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([interpreter, "-m", "venv", folder / "peers"], check=True)
    requirements = [
        *sorted(root.glob("app/requirements*.txt")),
        root / "role_manager" / "requirements.txt",
        root / "ops" / "requirements.txt",
        root / "requirements-dev.txt",
    ]
    own = ["--require-hashes", *(part for file in requirements for part in ("-r", file))]
    for place, arguments in ((python, own), (folder / "peers" / "bin" / "python", PEER_REQUIREMENTS)):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                place,
                *arguments,
            ],
            check=True,
        )
    subprocess.run([python, "-m", "compileall", "-q", root / "app"], check=True)  # As the image has it.
    (folder / "flask_peer.py").write_text(FLASK)
    (folder / "sqlmodel_peer.py").write_text(SQLMODEL)
    (folder / "post.lua").write_text(POST)
    return root, python


def measure(folder: Path, interpreter: str, rounds: int, seconds: int) -> tuple[list[Application], str]:
    """Measure all applications; return them, and what the database was."""
    root, python = prepare(folder, interpreter)
    ask_version = "import platform; print(platform.python_version())"
    version = subprocess.run([python, "-c", ask_version], check=True, capture_output=True, text=True).stdout.strip()
    base = {
        "APP_NAME": "measured",
        "ENVIRONMENT": "laptop",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "measured",
        "AWS_SECRET_ACCESS_KEY": "measured",
        "FLAGS_FILE": str(root / "app" / "flags.json"),
    }
    database = subprocess.Popen(
        [python, "-c", DATABASE, json.dumps(base)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        found = next(line for line in database.stdout or () if '"dsn"' in line)
        described: dict[str, Any] = json.loads(found)
        variables = described["variables"]
        peers = str(folder / "peers" / "bin" / "python")
        peer = {"DSN": described["dsn"]}
        applications = [
            Application(
                "service",
                [str(python), "-m", "app"],
                {**base, **variables, "PORT": "8301", "PYTHONPATH": str(root)},
                8301,
            ),
            Application(
                "Flask",
                [peers, "-m", "gunicorn", "--workers", "1", "--bind", "127.0.0.1:8302", "flask_peer:app"],
                peer,
                8302,
            ),
            Application(
                "SQLModel",
                [peers, "-m", "uvicorn", "--no-access-log", "--port", "8303", "sqlmodel_peer:app"],
                peer,
                8303,
            ),
        ]
        for _ in range(rounds):
            for application in applications:
                with running(application, folder) as process:
                    once(application, process, folder, seconds)
        return applications, f"PostgreSQL {described['version']}, {described['tls']}; Python {version}"
    finally:
        database.communicate()


def once(application: Application, process: int, folder: Path, seconds: int) -> None:
    """Measure the three requests once."""
    origin = f"http://127.0.0.1:{application.port}"
    item = json.loads(ask(f"{origin}/items", b'{"name": "measured"}'))["id"]
    for what, path, script in (
        ("/health", "/health", None),
        ("read", f"/items/{item}", None),
        ("write", "/items", folder / "post.lua"),
    ):
        load(origin + path, 1, script)
        before = cpu_seconds(process)
        rate, p50, p99, number = load(origin + path, seconds, script)
        cpu = (cpu_seconds(process) - before) / number * 1e6
        application.cpu_us.setdefault(what, []).append(cpu)
        application.rates.setdefault(what, []).append(rate)
        application.p50_ms.setdefault(what, []).append(p50)
        application.p99_ms.setdefault(what, []).append(p99)


def runtime() -> str:
    """Return the Python of the image, 3.13, or else the one that runs this."""
    found = shutil.which("python3.13")
    if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
        return found
    return sys.executable


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--python", default=runtime(), help="for both applications (default: 3.13 where it is found)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON as well")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.stderr.write("wrk is not installed. Debian: apt-get install wrk\n")
        return 2
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        applications, database = measure(Path(temporary), options.python, options.rounds, options.seconds)

    def median(values: list[float]) -> float:
        return statistics.median(values)

    service, *peers = applications
    print(f"{CONNECTIONS} connections, 1 worker process, {options.rounds} x {options.seconds} s; {database}\n")
    if load_before > QUIET:
        print(f"The load average was {load_before:.1f} before this began: only below {QUIET} are the figures good.\n")
    print(f"{'':10} {'request':8} {'per second':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8}")
    for application in applications:
        for what, rates in application.rates.items():
            p50, p99 = median(application.p50_ms[what]), median(application.p99_ms[what])
            cpu = median(application.cpu_us[what])
            print(f"{application.name:10} {what:8} {median(rates):10.0f} {p50:8.1f} {p99:8.1f} {cpu:8.0f}")
    print(f"\n{'':10} {'start s':>8} {'memory MiB':>10}")
    for application in applications:
        start, size = median(application.start_seconds), median(application.memory_mib)
        print(f"{application.name:10} {start:8.2f} {size:10.0f}")
    print()
    good = median(service.start_seconds) < START_SECONDS and median(service.memory_mib) < MEMORY_MIB
    print(f"start below {START_SECONDS} s and memory below {MEMORY_MIB} MiB: {'met' if good else 'MISSED'}")
    missed = not good
    for application in peers:
        for what, goal in GOALS[application.name].items():
            rate = median(service.rates[what]) / median(application.rates[what])
            cpu = median(application.cpu_us[what]) / median(service.cpu_us[what])
            good = min(rate, cpu) >= goal
            missed = missed or not good
            verdict = "met" if good else "MISSED"
            print(f"{what:8} {rate:.2f} x {application.name} in requests, {cpu:.2f} in CPU (goal {goal}): {verdict}")
    if options.json:
        print(json.dumps([vars(application) | {"environment": {}} for application in applications]))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
