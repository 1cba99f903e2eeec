"""Runs a Lambda function on this machine, through AWS's own runtime client.

:class:`LambdaFunction` unpacks an archive, starts `awslambdaric` (the program inside Lambda's Python
images) on its handler in a process of its own, and speaks the Runtime API with it:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html . Tests of the role manager and the rehearsal use it.

What is like Lambda: the handler is loaded by the real client from the archive alone (the AWS SDK and the
client come from this environment, as they come with Lambda's runtime), the process lives on between
invocations, payloads and answers are JSON of at most 6 MB, an unfinished invocation is ended by its time
limit, and only the given environment variables are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
_API = "/2018-06-01/runtime"
# Starts a command with an environment; its output goes to a file.
Start = Callable[[Sequence[str], Mapping[str, str], IO[bytes]], "subprocess.Popen[bytes]"]


@dataclasses.dataclass
class Invocation:
    """The answer to one invocation.

    Attributes:
        payload: what the handler returned, or errorMessage, errorType and stackTrace.
        error: None, or like Lambda's FunctionError: `Unhandled`.
        request_id: what the handler saw as aws_request_id.
        seconds: how long it took.

    """

    payload: Any
    error: str | None
    request_id: str
    seconds: float


@dataclasses.dataclass
class _Pending:
    request_id: str
    body: bytes
    deadline: float
    answered: threading.Event = dataclasses.field(default_factory=threading.Event)
    payload: bytes = b""
    error: str | None = None


class LambdaFunction:
    """A function on this machine; a context manager.

    Args:
        code: zip archive, or directory of an unpacked one.
        handler: `package.module.function`.
        environment: the function's variables. Nothing of this process is inherited but PATH.
        timeout: limit of an invocation in seconds.
        name: the function's name.
        region: AWS region.
        arn: what the handler sees as invoked_function_arn.
        start: starts the process; None: in the archive's directory.

    """

    def __init__(
        self,
        code: Path,
        handler: str,
        environment: Mapping[str, str],
        *,
        timeout: float = 60.0,
        name: str = "function",
        region: str = "us-east-1",
        arn: str = "arn:aws:lambda:local:0:function:local",
        start: Start | None = None,
    ) -> None:
        self._code = code
        self._handler = handler
        self._environment = dict(environment)
        self._timeout = timeout
        self._name = name
        self._region = region
        self.arn = arn
        self._start = start or self._start_here
        self._queue: queue.Queue[_Pending] = queue.Queue()
        self._pending: dict[str, _Pending] = {}
        self._init_error: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> LambdaFunction:
        self._temporary = tempfile.TemporaryDirectory(prefix="local-lambda-")
        folder = Path(self._temporary.name)
        self._log = folder / "log"
        task = self._code
        if not task.is_dir():
            task = folder / "task"
            with zipfile.ZipFile(self._code) as archive:
                archive.extractall(task)
        self._task = task
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_process()
        self._server.shutdown()
        self._server.server_close()
        self._temporary.cleanup()

    def invoke(self, payload: Any) -> Invocation:
        """Invoke the function with a JSON value and wait for its answer."""
        with self._one_at_a_time:
            return self._invoke(json.dumps(payload).encode())

    def logs(self) -> str:
        """Everything the function wrote so far."""
        return self._log.read_text(errors="replace", encoding="utf-8") if self._log.exists() else ""

    def _invoke(self, body: bytes) -> Invocation:
        if len(body) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"the payload has more than {MAX_PAYLOAD_BYTES:,} bytes")
        self._ensure_process()
        request = _Pending(str(uuid.uuid4()), body, time.time() + self._timeout)
        self._pending[request.request_id] = request
        started = time.monotonic()
        self._queue.put(request)
        failure = None
        while not request.answered.wait(0.05):
            if self._process is None or self._process.poll() is not None:
                code = self._process.returncode if self._process is not None else None
                failure = json.loads(self._init_error or b"null") or {
                    "errorType": "Runtime.ExitError",
                    "errorMessage": f"Runtime exited with status {code}: {self.logs()[-400:]}",
                }
                break
            if time.time() > request.deadline:
                failure = {"errorMessage": f"Task timed out after {self._timeout:.2f} seconds"}
                break
        seconds = time.monotonic() - started
        self._pending.pop(request.request_id, None)
        if failure is not None:
            self._stop_process()  # Lambda starts a new one for the next invocation
            return Invocation(failure, "Unhandled", request.request_id, seconds)
        answer = json.loads(request.payload or b"null")
        return Invocation(answer, request.error, request.request_id, seconds)

    def _ensure_process(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._queue = queue.Queue()
        self._init_error = None
        host, port = self._server.server_address[:2]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": f"{host!s}:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": self._name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self._name}",
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "LAMBDA_TASK_ROOT": str(self._task),
            "_HANDLER": self._handler,
            "PYTHONPATH": str(self._task),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._environment,
        }
        with self._log.open("ab") as log:
            command = (sys.executable, "-m", "awslambdaric", self._handler)
            self._process = self._start(command, environment, log)

    def _start_here(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self._task,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def _stop_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    # Called by the HTTP handler.

    def next_request(self) -> _Pending | None:
        """Wait for an invocation; None after a while without one."""
        try:
            return self._queue.get(timeout=5)
        except queue.Empty:
            return None

    def answer(self, request_id: str, body: bytes, error: str | None) -> int:
        """Take a handler's answer; return the HTTP status for the runtime client."""
        request = self._pending.get(request_id)
        if request is None:
            return 400
        if len(body) > MAX_PAYLOAD_BYTES:
            message = f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload"
            body = json.dumps(
                {
                    "errorType": "Function.ResponseSizeTooLarge",
                    "errorMessage": f"{message} size ({MAX_PAYLOAD_BYTES} bytes).",
                }
            ).encode()
            error = "Unhandled"
        request.payload, request.error = body, error
        request.answered.set()
        return 202

    def initialization_failed(self, body: bytes) -> None:
        """Note that the handler could not be loaded."""
        self._init_error = body


def _handler_class(function: LambdaFunction) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != f"{_API}/invocation/next":
                self._reply(404, b"{}")
                return
            while (request := function.next_request()) is None:
                if self.connection.fileno() < 0:
                    return
            with contextlib.suppress(OSError):  # the process is gone; invoke() sees that
                self._reply(
                    200,
                    request.body,
                    {
                        "Lambda-Runtime-Aws-Request-Id": request.request_id,
                        "Lambda-Runtime-Deadline-Ms": str(int(request.deadline * 1000)),
                        "Lambda-Runtime-Invoked-Function-Arn": function.arn,
                        "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
                    },
                )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            parts = self.path.removeprefix(f"{_API}/").split("/")
            if parts == ["init", "error"]:
                function.initialization_failed(body)
                self._reply(202, b"{}")
            elif len(parts) == 3 and parts[0] == "invocation" and parts[2] in {"response", "error"}:
                error = "Unhandled" if parts[2] == "error" else None
                self._reply(function.answer(parts[1], body, error), b"{}")
            else:
                self._reply(404, b"{}")

        def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
