"""Lambda: an invocation runs the deployed zip through the real runtime client (`awslambdaric`)."""

from __future__ import annotations

import base64
import importlib
import io
import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.moto_api._internal import mock_random

from ops.rehearsal.reachability import Place
from ops.rehearsal.simulator import aurora, identities
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps
from ops.rehearsal.simulator.world import python_environment

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

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


def install(world: World) -> None:
    """Run functions instead of returning their input; do nothing in a render that has none."""
    try:
        runtime: Any = importlib.import_module("ops.laptop.lambda_runtime")
    except ModuleNotFoundError:
        return

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
        event = json.loads(body or b"{}")
        answer, log = _run(world, runtime.LambdaFunction, function, event)
        if answer.error:
            response_headers["x-amz-function-error"] = answer.error
        response_headers["x-amz-log-result"] = base64.b64encode(log[-4096:].encode()).decode()
        response_headers["x-amz-executed-version"] = "$LATEST"
        return json.dumps(answer.payload).encode()


def _run(world: World, runtime: Any, function: Any, event: Any) -> tuple[Any, str]:
    """Invoke a function once, in a process of its own; returns the invocation and what was logged."""
    name = f"function-{function.function_name}-{mock_random.get_random_hex(6)}"
    directory = world.directory / name
    with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as package:
        package.extractall(directory)
    aurora.trust(world, directory)
    vpc = place = where = None
    places: dict[str, tuple[str, int]] = {}
    if function.vpc_config and function.vpc_config.get("SubnetIds"):
        subnets = tuple(function.vpc_config["SubnetIds"])
        account = function.function_arn.split(":")[4]
        vpc = world.network(subnets, account)
        place = Place("function", subnets, tuple(function.vpc_config["SecurityGroupIds"]))
        places = world.reachable_databases(vpc, place, account)
        where = identities.Place(vpc.vpc_id, subnets)
    credentials = world.identities.for_service(
        "lambda.amazonaws.com",
        function.role,
        function.function_arn,
        function.function_name,
        place=where,
        keys={"lambda:SourceFunctionArn": function.function_arn},
    )
    environment = {
        **python_environment(),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(function),
        "AWS_LAMBDA_LOG_STREAM_NAME": name,
        "AWS_LAMBDA_LOG_FORMAT": function.get_configuration().get("LoggingConfig", {}).get("LogFormat", "Text"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": credentials["access_key"],
        "AWS_SECRET_ACCESS_KEY": credentials["secret_key"],
        "AWS_SESSION_TOKEN": credentials["token"],
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

    def start(command: Sequence[str], variables: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return world.run(name, ["python", *command[1:]], variables, specification, output=log)

    with runtime(
        directory,
        function.handler,
        environment,
        timeout=function.timeout,
        name=function.function_name,
        region=world.region,
        arn=function.function_arn,
        start=start,
    ) as running:
        answer = running.invoke(event)
        log = running.logs()
    shutil.rmtree(directory, ignore_errors=True)
    _write_log(world, function, name, log, credentials)
    return answer, log


def _log_group(function: Any) -> str:
    kept = function.get_configuration().get("LoggingConfig", {})
    return str(kept.get("LogGroup") or f"/aws/lambda/{function.function_name}")


def _write_log(world: World, function: Any, stream: str, text: str, credentials: Mapping[str, str]) -> None:
    """Put what the function printed where `ops logs` looks, by its role; without group or permission it is lost, as on AWS."""
    (world.directory / f"{stream}.log").write_text(text, encoding="utf-8")
    logs = world.client("logs", credentials)
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        logs.create_log_stream(logGroupName=_log_group(function), logStreamName=stream)
        if lines:
            now = round(time.time() * 1000)
            logs.put_log_events(
                logGroupName=_log_group(function),
                logStreamName=stream,
                logEvents=[{"timestamp": now, "message": line} for line in lines],
            )
    except logs.exceptions.ClientError as error:
        world.note("lost-logs", group=_log_group(function), because=str(error))
