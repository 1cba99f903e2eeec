"""Stands in for the incident service and for people's mail: confirms subscriptions, keeps messages.

Messages are lines of a file, so that another process can wait for them as well.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import waiting


@dataclass(frozen=True)
class Message:
    """What SNS delivered: to which host and path, and its JSON body."""

    host: str
    path: str
    body: dict[str, Any]


class Mailbox:
    """The file of messages."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def messages(self) -> list[Message]:
        """Return every message so far, the oldest first."""
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return [Message(**json.loads(line)) for line in lines]

    def wait_for(self, text: str, seconds: float, *, after: int = 0) -> Message | None:
        """Wait for a message number `after` or later whose body contains a text."""

        def arrived() -> Message | None:
            return next((m for m in self.messages()[after:] if text in json.dumps(m.body)), None)

        return waiting.until(arrived, seconds, every=0.05)


class Receiver:
    """An HTTP server on this machine; `url` is where the simulator posts what is for the internet."""

    def __init__(self, mailbox: Mailbox) -> None:
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if body["Type"] == "SubscriptionConfirmation":
                    # As PagerDuty and Splunk On-Call do; a person would click.
                    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                    opener.open(body["SubscribeURL"], timeout=10).close()
                line = json.dumps({"host": self.headers["Host"], "path": self.path, "body": body})
                with lock, mailbox.file.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
