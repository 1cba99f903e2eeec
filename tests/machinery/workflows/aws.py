"""The AWS of the workflow tests: `python -m tests.machinery.workflows.aws SETTINGS`, with a render's packages.

moto with what the rehearsal adds to it. The layers in miniature make their things here, tasks run the code of the image that
was pushed (migrations on a real PostgreSQL), and a copy of everything can be taken (`fork`), so that a test begins where
another has paid for the beginning. Prints `{"aws": URL, "control": URL}` when it answers, and ends with its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from moto.awslambda.models import LambdaBackend
from moto.ecs.models import EC2ContainerServiceBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from ops.laptop.dev.database import variables
from ops.laptop.postgres import LocalPostgres
from ops.rehearsal.iam.web_identity import token
from ops.rehearsal.simulator.identities import ADMINISTRATOR, KEY_FILE
from ops.rehearsal.simulator.journal import Journal
from ops.rehearsal.simulator.moto_additions import appconfig, s3
from ops.rehearsal.simulator.world import World
from werkzeug.serving import make_server

from tests.machinery.ops import miniature

ACCOUNT = "123456789012"
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
assert appconfig
assert s3


class Cloud:
    """One account with what runs in it."""

    def __init__(self, directory: Path, render: Path, region: str) -> None:
        self.directory = directory
        self.region = region
        self.render = render
        self.images = directory / "images"
        self.images.mkdir(exist_ok=True)
        self.stack = ExitStack()
        self.lock = threading.Lock()
        self.serving = threading.Lock()
        self.database: LocalPostgres | None = None
        self.role_manager: dict[str, Any] = {"action": "check", "result": "passed", "summary": "3 roles were proven."}
        self.ran: list[dict[str, Any]] = []
        self.services: dict[str, Service] = {}
        self.stack.callback(self.stop_services)

    def stop_services(self) -> None:
        """End the services that still run."""
        for service in self.services.values():
            service.stop()

    # ------------------------------------------------------------------ what tests ask for

    def call(self, service: str, operation: str, arguments: dict[str, Any]) -> Any:
        """Any call, as a bystander who may see everything."""
        answer = getattr(miniature._client(service), operation)(**arguments)
        answer.pop("ResponseMetadata", None)
        return json.loads(
            json.dumps(answer, default=lambda value: value.read().decode() if hasattr(value, "read") else str(value))
        )

    def bootstrapped(self, bucket: str) -> None:
        """Note that the account layer is applied: its state, as far as anybody reads it."""
        provider = 'provider["terraform.io/builtin/terraform"]'
        made = {"mode": "managed", "type": "terraform_data", "name": "base", "provider": provider, "instances": []}
        head = {"version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "tests", "outputs": {}}
        state = json.dumps({**head, "resources": [made]}).encode()
        miniature._client("s3").put_object(Bucket=bucket, Key="account.tfstate", Body=state)

    def check_role_manager(self, answer: dict[str, Any]) -> None:
        """What the role manager answers from now on."""
        self.role_manager = answer

    def sign(self, prefix: str, audience: str, claims: dict[str, Any]) -> str:
        """A token as GitHub signs it: with the key that this AWS knows as GitHub's."""
        return token(self.directory / KEY_FILE, prefix=prefix, audience=audience, **claims)

    def tasks(self) -> list[dict[str, Any]]:
        """Tasks that were run, with their exit codes."""
        return self.ran

    # ------------------------------------------------------------------ what runs

    def place(self, image: str) -> Path:
        """The files of an image."""
        return self.images / image.rpartition("@")[2].removeprefix("sha256:") / "service"

    def environment(self, folder: Path, *, owner: bool) -> dict[str, str]:
        """What a task's environment says, for the database of this cloud; it is made when somebody needs it."""
        with self.lock:
            if self.database is None:
                self.database = self.stack.enter_context(LocalPostgres())
                made = subprocess.run(
                    [sys.executable, "-m", "ops.laptop.roles", "apply"],
                    cwd=self.render,
                    env={**os.environ, "PYTHONPATH": str(self.render), "DATABASE_URL": self.database.dsn()},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert made.returncode == 0, made.stdout + made.stderr
            where = variables(self.database, owner=owner)
        constant = {
            "APP_NAME": "app",
            "ENVIRONMENT": "test",
            "RELEASE": "test",
            "METRICS": "off",
            "LISTEN_ON": "127.0.0.1",
            "FLAGS_FILE": str(folder / "app" / "flags.json"),  # AppConfig is not in miniature
        }
        return {**os.environ, **where, **constant, "PYTHONPATH": str(folder)}

    def run(self, family: str, image: str) -> tuple[int, list[str]]:
        """Run the migrations that are in an image; its exit code and what it wrote."""
        folder = self.place(image)
        command = [sys.executable, "-m", "app.migrate"]
        environment = self.environment(folder, owner=True)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        self.ran.append({"family": family, "image": image, "exit_code": done.returncode})
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def visit(self, host: str, path: str) -> tuple[int, bytes]:
        """What a load balancer answers: the service behind it runs the image of its task definition."""
        balancers = miniature._client("elbv2").describe_load_balancers()["LoadBalancers"]
        names = [item["LoadBalancerName"] for item in balancers if item["DNSName"] == host]
        if not names:
            return 502, f"there is no host {host}".encode()
        ecs = miniature._client("ecs")
        [service] = ecs.describe_services(cluster=names[0], services=[names[0]])["services"]
        definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        image = definition["containerDefinitions"][0]["image"]
        with self.serving:
            running = self.services.get(names[0])
            if running is None or running.image != image:
                if running:
                    running.stop()
                folder = self.place(image)
                running = self.services[names[0]] = Service(image, folder, self.environment(folder, owner=False))
            return running.get(path)


class Service:
    """A process that runs the service of an image."""

    def __init__(self, image: str, folder: Path, environment: dict[str, str]) -> None:
        self.image = image
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = (folder.parent / f"log-{self.port}").open("w+")
        command = [sys.executable, "-m", "app"]
        given = {**environment, "PORT": str(self.port)}
        self.process = subprocess.Popen(command, cwd=folder, env=given, stdout=self.log, stderr=subprocess.STDOUT)

    def get(self, path: str) -> tuple[int, bytes]:
        """What it answers, once it listens."""
        deadline = time.monotonic() + 60
        while True:
            try:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{self.port}{path}") as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    return 503, f"{error}\n{self.log.read()}".encode()
                time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class Internet(BaseHTTPRequestHandler):
    """The way to load balancers, for who is outside: a proxy."""

    def do_GET(self) -> None:
        """Answer for the host that is asked for."""
        asked = urllib.parse.urlsplit(self.path)
        status, body = Control.cloud.visit(asked.netloc, asked.path or "/")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def install() -> None:
    """Have moto's tasks, functions and sign-in decided by the cloud that is served."""
    run_task = EC2ContainerServiceBackend.run_task

    def run(backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Any:
        tasks = run_task(backend, *args, **kwargs)
        for task in tasks:
            definition = backend.describe_task_definition(task.task_definition_arn)
            container: Any = definition.container_definitions[0]
            code, lines = Control.cloud.run(definition.family, container["image"])
            options = container["logConfiguration"]["options"]
            logs = miniature._client("logs")
            where = {
                "logGroupName": options["awslogs-group"],
                "logStreamName": f"{options['awslogs-stream-prefix']}/app/{task.id}",
            }
            logs.create_log_stream(**where)
            now = int(time.time() * 1000)
            events = [{"timestamp": now + number, "message": line} for number, line in enumerate(lines) if line]
            if events:
                logs.put_log_events(**where, logEvents=events)
            task.last_status = "STOPPED"
            task.stopped_reason = "Essential container in task exited"
            task.containers[0].exitCode = code
        return tasks

    def invoke(_backend: LambdaBackend, _name: str, *_args: Any, **_kwargs: Any) -> bytes:
        return json.dumps(Control.cloud.role_manager).encode()

    EC2ContainerServiceBackend.run_task = run  # type: ignore[method-assign, assignment]
    LambdaBackend.invoke = invoke  # type: ignore[method-assign, assignment]


class Control(miniature.Handler):
    """`POST /` of the layers' provisioners, and `POST /control` of the tests: {do, arguments}."""

    cloud: Cloud
    start: Callable[[], dict[str, str]]

    def do_POST(self) -> None:
        """Do what is asked; 500 with the reason where it fails."""
        if self.path != "/control":
            super().do_POST()
            return
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            answer = fork() if asked["do"] == "fork" else getattr(self.cloud, asked["do"])(**asked["arguments"])
            status, body = 200, json.dumps(answer)
        except Exception as error:  # noqa: BLE001 - for the test that asked
            status, body = 500, json.dumps(f"{type(error).__name__}: {error}")
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def fork() -> dict[str, str]:
    """Go on in a second process with a copy of everything; where it answers."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as pipe:
            answer: dict[str, str] = json.loads(pipe.readline())
        return answer
    os.close(reading)
    # Only this thread is here. A folder of its own, so that images and the database are its own too.
    old = Control.cloud
    directory = old.directory.with_name(f"{old.directory.name}-{os.getpid()}")
    subprocess.run(["cp", "-Rl", str(old.directory), str(directory)], check=True)
    cloud = Cloud(directory, old.render, old.region)
    serve(cloud, lambda answer: os.write(writing, (json.dumps(answer) + "\n").encode()))
    os._exit(0)


def serve(cloud: Cloud, ready: Callable[[dict[str, str]], Any]) -> None:
    """Serve AWS and the control until standard input closes."""
    Control.cloud = cloud
    world = World(cloud.directory, ACCOUNT, cloud.region, cloud.render, endpoint="", receiver="")
    journal = Journal(DomainDispatcherApplication(create_backend_app), cloud.directory / "journal.jsonl", world)
    server = make_server("127.0.0.1", 0, journal, True, request_handler=MotoRequestHandler)
    control = ThreadingHTTPServer(("127.0.0.1", 0), Control)
    internet = ThreadingHTTPServer(("127.0.0.1", 0), Internet)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    miniature.client_of.cache_clear()
    for each in (server, control, internet):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    there = {
        name: f"http://127.0.0.1:{each.server_port}" for name, each in (("control", control), ("internet", internet))
    }
    ready({"aws": endpoint, **there, "directory": str(cloud.directory)})
    # Past sys.stdin, whose lock another thread may have held when this process was forked.
    while os.read(0, 1024):
        pass
    cloud.stack.close()


def main() -> None:
    """Start from nothing: SETTINGS is {"directory", "render", "region"}."""
    settings = json.loads(sys.argv[1])
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": ADMINISTRATOR[0],
        "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR[1],
        "AWS_REGION": settings["region"],
        "NO_PROXY": "*",
        "MOTO_ECS_SERVICE_RUNNING": "1",
        "MOTO_ACCOUNT_ID": ACCOUNT,
    }
    install()
    serve(
        Cloud(Path(settings["directory"]), Path(settings["render"]), settings["region"]),
        lambda answer: print(json.dumps(answer), flush=True),
    )


if __name__ == "__main__":
    main()
