"""Files, by a service that signs and a bucket that refuses what S3 refuses (ops/laptop/bucket.py)."""

from __future__ import annotations

import base64
import http.client
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.tests.service import Answer, Service, running
from ops.laptop import signing
from ops.laptop.bucket import Bucket

MOST = 1000
PNG = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\r\n\x00"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    served = Bucket("shop-files", "laptop", origins=["https://shop.example.com"])
    served.start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture(scope="module")
def files(environment: dict[str, str], bucket: Bucket) -> Iterator[Service]:
    variables = {
        "AWS_ENDPOINT_URL_S3": bucket.url,
        "FILES_BUCKET": bucket.name,
        "FILES_CONTENT_TYPES": '["image/png", "text/csv"]',
        "FILES_MAX_BYTES": str(MOST),
    }
    with running(environment | variables) as service:
        yield service


def send(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Ask the bucket, as a client does with a URL that it was given."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=20)
    try:
        connection.request(method, f"{address.path}?{address.query}".rstrip("?"), body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read(), 0)
    finally:
        connection.close()


def upload(url: str, fields: dict[str, str], content: bytes) -> Answer:
    """Send a form as a browser does."""
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return send("POST", url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def ask(files: Service, **changed: str) -> dict[str, Any]:
    answer = files.ask("POST", "/files", {"name": "logo.png", "content_type": "image/png"} | changed)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


def test_an_upload_comes_back(files: Service) -> None:
    asked = ask(files, name="Übersicht 1.png")
    assert asked["max_bytes"] == MOST
    assert upload(asked["url"], asked["fields"], PNG).status == 204
    found = files.ask("GET", f"/files/{asked['id']}").json
    assert (found["content_type"], found["size"]) == ("image/png", len(PNG))
    given = send("GET", found["url"])
    assert (given.status, given.body, given.headers["Content-Type"]) == (200, PNG, "image/png")
    assert given.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%9Cbersicht%201.png"
    assert files.ask("GET", "/ready").json["components"]["files"] == "bucket shop-files"


@pytest.mark.parametrize(
    ("code", "changed", "content"),
    [
        ("EntityTooLarge", {}, b"x" * (MOST + 1)),
        ("EntityTooSmall", {}, b""),
        ("AccessDenied", {"Content-Type": "text/html"}, PNG),
        ("AccessDenied", {"Content-Disposition": "inline"}, PNG),
        ("AccessDenied", {"key": "0" * 32}, PNG),
        ("AccessDenied", {"x-amz-acl": "public-read"}, PNG),
        ("SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}, PNG),
        ("SignatureDoesNotMatch", {"policy": base64.b64encode(b'{"expiration": "2100-01-01T00:00:00Z", "conditions": []}').decode()}, PNG),
        ("InvalidPolicyDocument", {"policy": "no policy"}, PNG),
    ],
)  # fmt: skip
def test_what_was_not_signed_is_refused(files: Service, code: str, changed: dict[str, str], content: bytes) -> None:
    asked = ask(files)
    refused = upload(asked["url"], asked["fields"] | changed, content)
    assert refused.status >= 400
    assert f"<Code>{code}</Code>" in refused.body.decode()
    assert files.ask("GET", f"/files/{asked['id']}").status == 404


def test_urls_are_good_for_a_while_and_for_one_thing(
    files: Service, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(files)
    assert upload(asked["url"], asked["fields"], PNG).status == 204
    url = files.ask("GET", f"/files/{asked['id']}").json["url"]
    assert send("PUT", url, b"another").status == 403
    assert send("GET", url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")).status == 403
    assert send("GET", url.replace(asked["id"], "0" * 32)).status == 403
    assert send("GET", url.partition("?")[0]).status == 403

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + timedelta(seconds=301)

    monkeypatch.setattr(signing, "datetime", Later)
    for late in (send("GET", url), upload(asked["url"], asked["fields"], PNG)):
        assert late.status == 403
        assert "expired" in late.body.decode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "page.html", "content_type": "text/html"}, 422),
        ({"name": "../x", "content_type": "image/png"}, 422),
        ({"name": "", "content_type": "image/png"}, 422),
        ({"name": "x", "content_type": "image/png", "key": "mine"}, 422),
    ],
)
def test_what_may_not_be_stored_is_told(files: Service, body: dict[str, str], status: int) -> None:
    assert files.ask("POST", "/files", body).status == status


def test_a_file_that_is_not_there(files: Service) -> None:
    assert files.ask("GET", f"/files/{'0' * 32}").status == 404
    assert files.ask("GET", "/files/..%2Fsecret").status in (404, 422)


def test_without_a_bucket_there_are_no_such_routes(environment: dict[str, str]) -> None:
    without = {name: value for name, value in environment.items() if not name.startswith("FILES_")}
    with running(without) as service:
        assert service.ask("POST", "/files", {"name": "x", "content_type": "image/png"}).status == 404
        assert "/files" not in service.ask("GET", "/openapi.json").json["paths"]


def test_the_document_says_which_types_are_taken(files: Service) -> None:
    schemas = files.ask("GET", "/openapi.json").json["components"]["schemas"]
    assert schemas["NewFile"]["properties"]["content_type"]["enum"] == ["image/png", "text/csv"]


def test_pages_of_named_origins_may_ask(files: Service) -> None:
    url = ask(files)["url"]
    assert send("OPTIONS", url, headers={"Origin": "https://shop.example.com"}).headers["Access-Control-Allow-Origin"]
    assert send("OPTIONS", url, headers={"Origin": "https://other.example.com"}).status == 403
