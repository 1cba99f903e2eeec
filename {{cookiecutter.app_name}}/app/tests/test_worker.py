"""The worker as a process of its own, and a queue that speaks SQS's protocol over HTTP, as the real client calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from app.tests.service import ROOT, free_port, wait_until

VISIBILITY = 2
# A worker whose work takes as long as its message says.
SLOW = """
import asyncio, sys
from app import worker

async def slow(text):
    if text == "-1":
        asyncio.current_task().cancel()
    await asyncio.sleep(float(text))

worker.HANDLERS["slow"] = slow
sys.exit(worker.main(["slow"]))
"""


# What a call may say, and which numbers: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference
ASKED = {
    "GetQueueAttributes": {"AttributeNames"},
    "SendMessage": {"MessageBody"},
    "ReceiveMessage": {"WaitTimeSeconds", "MaxNumberOfMessages", "MessageSystemAttributeNames"},
    "DeleteMessage": {"ReceiptHandle"},
    "ChangeMessageVisibility": {"ReceiptHandle", "VisibilityTimeout"},
}
LIMITS = {"WaitTimeSeconds": range(21), "MaxNumberOfMessages": range(1, 11), "VisibilityTimeout": range(43_201)}


class RefusedError(Exception):
    """What SQS refuses, by its code."""


@dataclass
class Message:
    body: str
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    receipt: str = ""  # another one each time that it is received
    received: int = 0
    visible_at: float = 0


class Sqs(ThreadingHTTPServer):
    """A queue with the attributes that project.yaml gives it."""

    daemon_threads = True

    def __init__(self, port: int, max_receives: int = 2) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{port}/123456789012/shop-dev-worker-example"
        self.max_receives = max_receives
        self.messages: list[Message] = []
        self.dead: list[Message] = []
        self.broken = False
        self.asked = 0
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the worker's process was killed before its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def put(self, body: str) -> Message:
        message = Message(body)
        with self.lock:
            self.messages.append(message)
        return message

    def take(self) -> Message | None:
        with self.lock:
            for message in [one for one in self.messages if one.visible_at <= time.monotonic()]:
                if message.received >= self.max_receives:
                    self.messages.remove(message)
                    self.dead.append(message)
                    continue
                message.received += 1
                message.receipt = str(uuid.uuid4())
                message.visible_at = time.monotonic() + VISIBILITY
                return message
        return None

    def do(self, operation: str, asked: dict[str, Any], signature: str) -> dict[str, Any]:
        if "Credential=test/" not in signature:
            raise RefusedError("MissingAuthenticationToken")
        if operation not in ASKED:
            raise RefusedError("InvalidAction")
        if asked.pop("QueueUrl", None) != self.url:
            raise RefusedError("QueueDoesNotExist")
        if not asked.keys() <= ASKED[operation]:
            raise RefusedError("UnsupportedOperation")
        if any(asked.get(name, limits[0]) not in limits for name, limits in LIMITS.items()):
            raise RefusedError("InvalidParameterValue")
        if operation == "GetQueueAttributes":
            return {"Attributes": {"VisibilityTimeout": str(VISIBILITY)}}
        if operation == "SendMessage":
            return {"MessageId": self.put(asked["MessageBody"]).identity}
        if operation == "ReceiveMessage":
            deadline = time.monotonic() + min(asked.get("WaitTimeSeconds", 0), 1)
            while (message := self.take()) is None and time.monotonic() < deadline:
                time.sleep(0.02)
            if message is None:
                return {}
            found = {"MessageId": message.identity, "ReceiptHandle": message.receipt, "Body": message.body}
            return {"Messages": [found | {"Attributes": {"ApproximateReceiveCount": str(message.received)}}]}
        with self.lock:
            message = next((one for one in self.messages if one.receipt == asked["ReceiptHandle"]), None)
            if message is None:
                raise RefusedError("ReceiptHandleIsInvalid")
            if operation == "DeleteMessage":
                self.messages.remove(message)
            elif message.visible_at <= time.monotonic():
                raise RefusedError("MessageNotInflight")
            else:
                message.visible_at = time.monotonic() + asked["VisibilityTimeout"]
        return {}


class Handler(BaseHTTPRequestHandler):
    server: Sqs

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        operation = self.headers["X-Amz-Target"].removeprefix("AmazonSQS.")
        status, answer = 200, dict[str, Any]()
        try:
            if self.server.broken:
                status = 500
            else:
                answer = self.server.do(operation, asked, self.headers.get("Authorization", ""))
        except RefusedError as error:
            status, answer = 400, {"__type": f"com.amazonaws.sqs#{error}", "message": str(error)}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sqs() -> Iterator[Sqs]:
    server = Sqs(free_port())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def variables(sqs: Sqs, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "APP_NAME": "shop",
        "ENVIRONMENT": "dev",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_SQS": sqs.url.partition("/1234")[0],
        "QUEUE_URL_EXAMPLE": sqs.url,
        "QUEUE_URL_SLOW": sqs.url,
        **more,
    }


class Process:
    """A worker that runs; what it logs is in `lines`."""

    def __init__(self, output: Path, environment: dict[str, str], *command: str) -> None:
        self._output = output
        with output.open("wb") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, *(command or ("-m", "app.worker", "example"))],
                cwd=ROOT,
                env=environment,
                stdout=stdout,
            )

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self._output.read_text(encoding="utf-8").splitlines()]
        return [line for line in found if fields.items() <= line.items()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)


@pytest.fixture
def worker(sqs: Sqs, tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path / "stdout", variables(sqs))
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def slow(sqs: Sqs, tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path / "stdout", variables(sqs, STOP_SECONDS="3"), "-c", SLOW)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize(
    ("code", "operation", "arguments"),
    [
        ("MissingAuthenticationToken", "receive_message", {"signed": False}),
        ("QueueDoesNotExist", "receive_message", {"QueueUrl": "http://127.0.0.1/123456789012/other"}),
        ("InvalidParameterValue", "receive_message", {"WaitTimeSeconds": 21}),
        ("InvalidParameterValue", "receive_message", {"MaxNumberOfMessages": 11}),
        ("UnsupportedOperation", "send_message", {"MessageBody": "x", "MessageGroupId": "x"}),
        ("InvalidAction", "purge_queue", {}),
        ("ReceiptHandleIsInvalid", "delete_message", {"ReceiptHandle": "x"}),
        ("InvalidParameterValue", "change_message_visibility", {"VisibilityTimeout": 43_201}),
        ("MessageNotInflight", "change_message_visibility", {"VisibilityTimeout": 1}),
    ],
)
def test_the_queue_refuses_what_sqs_does(sqs: Sqs, code: str, operation: str, arguments: dict[str, Any]) -> None:
    signed = None if arguments.pop("signed", True) else UNSIGNED
    client = get_session().create_client(
        "sqs",
        region_name="eu-west-1",
        endpoint_url=sqs.url.partition("/1234")[0],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version=signed, retries={"total_max_attempts": 1}),
    )
    if operation == "change_message_visibility":
        sqs.put("x")
        arguments["ReceiptHandle"] = client.receive_message(QueueUrl=sqs.url)["Messages"][0]["ReceiptHandle"]
        if code == "MessageNotInflight":
            client.change_message_visibility(QueueUrl=sqs.url, **arguments | {"VisibilityTimeout": 0})
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**{"QueueUrl": sqs.url} | arguments)
    assert refused.value.response["Error"]["Code"].endswith(code)


def test_a_message_is_worked_on_and_deleted(sqs: Sqs, worker: Process) -> None:
    message = sqs.put('{"name": "Ada"}')
    wait_until(lambda: not sqs.messages)
    (line,) = worker.lines(message="greeted Ada")
    assert line["request_id"] == message.identity
    assert message.received == 1
    assert worker.stop() == 0


def test_a_message_that_fails_comes_again_and_ends_with_the_dead_letters(sqs: Sqs, worker: Process) -> None:
    poison, good = sqs.put("no JSON"), sqs.put('{"name": "Ada"}')
    wait_until(lambda: sqs.dead)
    assert sqs.dead == [poison]
    failed = worker.lines(level="error", request_id=poison.identity)
    assert [line["message"] for line in failed] == [f"this message failed, received {n} times" for n in (1, 2)]
    assert "ValidationError" in failed[0]["exception"]
    assert (good.received, sqs.messages) == (1, [])
    assert worker.stop() == 0


def test_work_that_was_cancelled_has_failed(sqs: Sqs, slow: Process) -> None:
    """What waits for a task that somebody cancelled is cancelled too; the worker goes on."""
    cancelled, good = sqs.put("-1"), sqs.put("0")
    wait_until(lambda: sqs.dead and not sqs.messages)
    assert (sqs.dead, good.received) == ([cancelled], 1)
    assert "CancelledError" in slow.lines(level="error", request_id=cancelled.identity)[0]["exception"]
    assert slow.stop() == 0


def test_long_work_keeps_its_message(sqs: Sqs, slow: Process) -> None:
    message = sqs.put(str(2 * VISIBILITY + 1))
    wait_until(lambda: not sqs.messages)
    assert message.received == 1
    assert slow.stop() == 0


def test_sigterm_lets_work_end(sqs: Sqs, slow: Process) -> None:
    message = sqs.put("2")
    wait_until(lambda: message.received)
    later = sqs.put("0")
    assert slow.stop() == 0
    assert sqs.messages == [later]
    assert later.received == 0


def test_sigterm_gives_back_what_does_not_end(sqs: Sqs, slow: Process) -> None:
    message = sqs.put("60")
    wait_until(lambda: message.received)
    started = time.monotonic()
    assert slow.stop() == 0
    assert time.monotonic() - started < 10
    assert sqs.messages == [message]
    assert message.visible_at <= time.monotonic(), "another worker takes it at once"
    assert slow.lines(level="warning", request_id=message.identity)


def test_an_idle_worker_ends_soon(sqs: Sqs, worker: Process) -> None:
    wait_until(lambda: sqs.asked > 1)
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 8


def test_it_goes_on_when_the_queue_was_away(sqs: Sqs, worker: Process) -> None:
    wait_until(lambda: sqs.asked > 1)
    sqs.broken = True
    wait_until(lambda: worker.lines(level="warning"))
    sqs.broken = False
    sqs.put('{"name": "Ada"}')
    wait_until(lambda: not sqs.messages)
    assert worker.stop() == 0


def test_the_service_sends_what_a_worker_takes(sqs: Sqs, worker: Process) -> None:
    send = "import asyncio; from app.worker import Queue; asyncio.run(Queue('example').send('{\"name\": \"Grace\"}'))"
    subprocess.run([sys.executable, "-c", send], cwd=ROOT, env=variables(sqs), check=True)
    wait_until(lambda: worker.lines(message="greeted Grace"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["other"], "other is no worker here: example"),
        ([], "nothing is no worker here: example"),
        (["example"], "QUEUE_URL_EXAMPLE is missing"),
    ],
)
def test_what_is_missing_is_told(sqs: Sqs, arguments: list[str], said: str) -> None:
    environment = {name: value for name, value in variables(sqs).items() if not name.startswith("QUEUE")}
    ended = subprocess.run(
        [sys.executable, "-m", "app.worker", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
