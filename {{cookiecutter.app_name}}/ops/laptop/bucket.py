"""A bucket on this laptop: it takes what the service signs, and refuses what S3 refuses.

What it holds is in memory, or in a folder. It knows one key, and no policies: those are the rehearsal's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ops.laptop import signing
from ops.laptop.signing import RefusedError

KEPT = ("Content-Type", "Content-Disposition")
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Credential=[^/]+/(?P<scope>[^, ]+), *SignedHeaders=(?P<names>[^, ]+), *Signature=(?P<signature>\w+)"
)


@dataclass(frozen=True)
class Stored:
    """A file: its headers and what is in it."""

    headers: dict[str, str]
    content: bytes


class Bucket(ThreadingHTTPServer):
    """Serves one bucket at `url`, on a free port, to those who sign with `secret`."""

    daemon_threads = True

    def __init__(self, name: str, secret: str, folder: Path | None = None, origins: Sequence[str] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.secret, self.folder, self.origins = name, secret, folder, origins
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, Stored] = {}
        if folder:
            folder.mkdir(exist_ok=True)

    def start(self) -> None:
        """Serve, in a thread, until `shutdown`."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def put(self, name: str, stored: Stored) -> None:
        """Store a file."""
        self.files[name] = stored
        if self.folder:
            head = "".join(f"{key}: {value}\n" for key, value in stored.headers.items())
            _path(self.folder, name).write_bytes(head.encode() + b"\n" + stored.content)

    def get(self, name: str) -> Stored | None:
        """Return a file, None where there is none."""
        if name not in self.files and self.folder and (path := _path(self.folder, name)).is_file():
            head, _, content = path.read_bytes().partition(b"\n\n")
            self.files[name] = Stored(dict(line.split(": ", 1) for line in head.decode().splitlines()), content)
        return self.files.get(name)


def _path(folder: Path, name: str) -> Path:
    return folder / hashlib.sha256(name.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Bucket

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return what answers a request of any method."""
        if name.startswith("do_"):
            return self._answer_or_refuse
        raise AttributeError(name)

    def _answer_or_refuse(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._answer(body)
        except RefusedError as error:
            content = f"<Error><Code>{error.code}</Code><Message>{error}</Message></Error>".encode()
            self._send(error.status, {"Content-Type": "application/xml"}, content)

    def _answer(self, body: bytes) -> None:
        address = urlsplit(self.path)
        bucket, _, name = unquote(address.path).lstrip("/").partition("/")
        if self.command == "OPTIONS":
            allowed = self.headers.get("Origin") in self.server.origins
            return self._send(
                200 if allowed else 403, {"Access-Control-Allow-Methods": "GET, HEAD, POST"} if allowed else {}
            )
        if self.command == "POST" and not name:
            form = signing.read_form(self.headers.get("Content-Type", ""), body)
            signing.check_form(form, bucket, self.server.secret)
            self._find(bucket)
            headers = {key: form.fields[key.lower()] for key in KEPT if key.lower() in form.fields}
            self.server.put(form.fields["key"], Stored(headers, form.file))
            return self._send(204, {})
        if "X-Amz-Signature=" in address.query:
            signing.check_query(self.command, address.path, address.query, self._header, self.server.secret)
        else:
            self._check_header(address.path, address.query, body)
        if self.command not in ("GET", "HEAD"):
            raise RefusedError("AccessDenied", 403, "The service does no more than this with its bucket.")
        self._find(bucket)
        if not name:
            return self._send(200, {})
        stored = self.server.get(name)
        if stored is None:
            raise RefusedError("NoSuchKey", 404, "The specified key does not exist.")
        return self._send(200, stored.headers, stored.content)

    def _find(self, bucket: str) -> None:
        if bucket != self.server.name:
            raise RefusedError("NoSuchBucket", 404, "The specified bucket does not exist.")

    def _check_header(self, path: str, query: str, body: bytes) -> None:
        found = _AUTHORIZATION.fullmatch(self.headers.get("Authorization", ""))
        if found is None:
            raise RefusedError("AccessDenied", 403, "The request is not signed.")
        given = self.headers.get("X-Amz-Content-SHA256", "")
        lines = signing.canonical_request(
            self.command, path, signing.query(query), found["names"].split(";"), self._header, given
        )
        wanted = signing.signature(self.server.secret, found["scope"], self.headers.get("X-Amz-Date", ""), lines)
        if not hmac.compare_digest(wanted, found["signature"]) or given != hashlib.sha256(body).hexdigest():
            raise signing.WRONG

    def _header(self, name: str) -> str:
        return self.headers.get(name, "")

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        if (origin := self.headers.get("Origin")) in self.server.origins:
            headers = {**headers, "Access-Control-Allow-Origin": str(origin)}
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
