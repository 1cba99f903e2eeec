"""A queue for each worker of project.yaml. It takes what the service sends, and says so: no worker runs here."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ops.laptop.dev import settings


class _Queues(ThreadingHTTPServer):
    """SQS, as far as a sender needs it, on a free port."""

    daemon_threads = True

    def __init__(self, workers: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.names = {f"{self.url}/laptop/{worker}": worker for worker in workers}


class _Handler(BaseHTTPRequestHandler):
    server: _Queues

    def do_POST(self) -> None:
        """Answer one call of the AWS SDK."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        worker = self.server.names.get(asked.get("QueueUrl"))
        sends = self.headers["X-Amz-Target"] == "AmazonSQS.SendMessage"
        if worker and sends and not asked["MessageBody"]:
            self._say(400, {"__type": "com.amazonaws.sqs#MissingParameter", "message": "MessageBody is empty"})
        elif worker and sends:
            sys.stderr.write(f"Sent to {worker}: {asked['MessageBody'][:200]}\n")
            self._say(200, {"MessageId": str(uuid.uuid4())})
        elif worker:
            self._say(400, {"__type": "com.amazonaws.sqs#UnsupportedOperation", "message": "only SendMessage is here"})
        else:
            self._say(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no worker of project.yaml"})

    def _say(self, status: int, answer: dict[str, str]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing about each call."""


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the URLs of the queues, which are there until the end; nothing without workers."""
    workers = list(settings().get("workers") or {})
    if not workers:
        yield {}
        return
    queues = _Queues(workers)
    threading.Thread(target=queues.serve_forever, daemon=True).start()
    try:
        # Variables as infra/config names them.
        yield {
            "AWS_ENDPOINT_URL_SQS": queues.url,
            **{f"QUEUE_URL_{name.upper().replace('-', '_')}": url for url, name in queues.names.items()},
        }
    finally:
        queues.shutdown()
        queues.server_close()
