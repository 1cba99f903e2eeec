"""Lambda: an invocation runs the deployed zip through the real runtime client (`awslambdaric`)."""

from __future__ import annotations

import base64
import http.server
import io
import json
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.moto_api._internal import mock_random

from rehearsal.reachability import Place
from rehearsal.simulator import aurora
from rehearsal.simulator.moto_additions.gaps import gap, wraps
from rehearsal.simulator.world import python_environment

if TYPE_CHECKING:
    from rehearsal.simulator.world import World

# What Lambda's Python runtime has beside the package: boto3 with what it needs, and the runtime client.
RUNTIME_PACKAGES = (
    "_distutils_hack",
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "runtime_client",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot_restore_py",
    "urllib3",
)


class Invocation(http.server.ThreadingHTTPServer):
    """The Runtime API for one event: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

    def __init__(self, event: bytes, arn: str, seconds: int) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApi)
        self.event, self.arn, self.seconds = event, arn, seconds
        self.request_id = str(mock_random.uuid4())
        self.taken = False
        self.answer: tuple[bool, bytes] | None = None
        self.done = threading.Event()


class _RuntimeApi(http.server.BaseHTTPRequestHandler):
    server: Invocation
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.taken:
            self.server.done.wait()  # one invocation for each process
            return
        self.server.taken = True
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", self.server.request_id)
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", self.server.arn)
        deadline = round((time.time() + self.server.seconds) * 1000)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        # The client crashes without these two.
        self.send_header("Content-Type", "application/json")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000")
        self.send_header("Content-Length", str(len(self.server.event)))
        self.end_headers()
        self.wfile.write(self.server.event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answer = (self.path.endswith("/response"), body)
        self.server.done.set()

    def log_message(self, *_: Any) -> None:
        pass


def install(world: World) -> None:
    """Run functions instead of returning their input."""

    @gap("aws_lambda_function", "an invocation without Docker returns its input")
    @wraps(LambdaSimpleBackend, "invoke")
    def invoke(
        _original: Any,
        backend: LambdaSimpleBackend,
        function_name: str,
        qualifier: str | None,
        body: Any,
        headers: Any,
        response_headers: dict[str, Any],
    ) -> bytes:
        function = backend.get_function(function_name, qualifier)
        event = body.encode() if isinstance(body, str) else body or b"{}"
        good, answer, log = _run(world, function, event)
        if not good:
            response_headers["x-amz-function-error"] = "Unhandled"
        response_headers["x-amz-log-result"] = base64.b64encode(log[-4096:]).decode()
        response_headers["x-amz-executed-version"] = "$LATEST"
        return answer


def _run(world: World, function: Any, event: bytes) -> tuple[bool, bytes, bytes]:
    name = f"function-{function.function_name}-{mock_random.get_random_hex(6)}"
    directory = world.directory / name
    with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as package:
        package.extractall(directory)
    aurora.trust(world, directory)
    vpc = place = None
    places: dict[str, tuple[str, int]] = {}
    if function.vpc_config and function.vpc_config.get("SubnetIds"):
        subnets = tuple(function.vpc_config["SubnetIds"])
        vpc = world.network(subnets)
        place = Place("function", subnets, tuple(function.vpc_config["SecurityGroupIds"]))
        places = world.reachable_databases(vpc, place)
    api = Invocation(event, function.function_arn, function.timeout)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    environment = {
        **python_environment(),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(function),
        "AWS_LAMBDA_LOG_STREAM_NAME": name,
        "AWS_LAMBDA_LOG_FORMAT": function.get_configuration()
        .get("LoggingConfig", {})
        .get("LogFormat", "Text"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "LAMBDA_TASK_ROOT": str(directory),
        "_HANDLER": function.handler,
        "AWS_REGION": world.region,
        "AWS_DEFAULT_REGION": world.region,
        "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_SESSION_TOKEN": "simulated",
        **world.sdk_environment(vpc, place),
        **function.environment_vars,
    }
    specification = {
        "directory": str(directory),
        "places": places,
        "published": {},
        "user": world.user(993),
        "writable": ["/tmp"],  # noqa: S108 - Lambda's rule
        "packages": RUNTIME_PACKAGES,
    }
    process = world.run(
        name, ["python", "-m", "awslambdaric", function.handler], environment, specification
    )
    log: list[bytes] = []
    reader = threading.Thread(target=lambda: log.extend(process.stdout or ()), daemon=True)
    reader.start()

    def wait() -> None:
        process.wait()
        api.done.set()

    threading.Thread(target=wait, daemon=True).start()
    in_time = api.done.wait(function.timeout)
    if in_time and api.answer is None:
        api.done.wait(0.2)  # it may have ended right after its answer
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
    reader.join(2)
    api.shutdown()
    api.server_close()
    shutil.rmtree(directory, ignore_errors=True)
    text = b"".join(log)
    _write_log(world, function, name, text)
    if api.answer is not None:
        good, answer = api.answer
        return good, answer, text
    reason = (
        f"Task timed out after {function.timeout} seconds"
        if not in_time
        else f"Runtime exited with status {process.returncode}: {text[-400:].decode(errors='replace')}"
    )
    return False, json.dumps({"errorMessage": reason, "errorType": "Runtime"}).encode(), text


def _log_group(function: Any) -> str:
    kept = function.get_configuration().get("LoggingConfig", {})
    return str(kept.get("LogGroup") or f"/aws/lambda/{function.function_name}")


def _write_log(world: World, function: Any, stream: str, text: bytes) -> None:
    """Put what the function printed where `ops logs` looks; without its group it is lost, as on AWS."""
    Path(world.directory / f"{stream}.log").write_bytes(text)
    logs = world.client("logs")
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    try:
        logs.create_log_stream(logGroupName=_log_group(function), logStreamName=stream)
        if lines:
            now = round(time.time() * 1000)
            logs.put_log_events(
                logGroupName=_log_group(function),
                logStreamName=stream,
                logEvents=[{"timestamp": now, "message": line} for line in lines],
            )
    except logs.exceptions.ResourceNotFoundException:
        world.note("lost-logs", group=_log_group(function))
