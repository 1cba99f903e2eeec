"""What every answer has, and what bad input gets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from app.tests.service import Service, running, wait_until


def assert_problem(answer_headers: str | None, body: bytes, status: int) -> dict[str, object]:
    assert answer_headers == "application/problem+json"
    problem: dict[str, object] = json.loads(body)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert b"Traceback" not in body
    return problem


def test_health_and_ready(service: Service) -> None:
    answer = service.ask("GET", "/health")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    answer = service.ask("GET", "/ready")
    assert answer.status == 200
    assert answer.json["status"] == "ready"


def test_request_id_is_taken_or_made_and_logged(service: Service) -> None:
    answer = service.ask("GET", "/health", headers={"X-Request-Id": "from-the-caller-1"})
    assert answer.headers["X-Request-Id"] == "from-the-caller-1"
    wait_until(lambda: service.logged(request_id="from-the-caller-1"))
    (line,) = service.logged(request_id="from-the-caller-1")
    assert line["logger"] == "access"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/health", 200)
    assert line["duration_ms"] > 0

    for hostile in ("a b", 'x"}', "x" * 129, "é", ""):
        made = service.ask("GET", "/health", headers={"X-Request-Id": hostile})
        assert re.fullmatch("[0-9a-f]{32}", made.headers["X-Request-Id"])


def test_query_strings_are_not_logged(service: Service) -> None:
    service.ask("GET", "/health?token=not-for-the-log")
    assert "not-for-the-log" not in json.dumps(service.lines())


def test_unknown_paths_and_methods(service: Service) -> None:
    for path in (
        "/",
        "/nope",
        "/health/",
        "//",
        "/%2e%2e/etc/passwd",
        "/health%00",
        "/%zz",
        "/%ff",
        "/50%25%20of%20it",
    ):
        answer = service.ask("GET", path)
        assert answer.status == 404, path
        problem = assert_problem(answer.headers["Content-Type"], answer.body, 404)
        assert problem["request_id"] == answer.headers["X-Request-Id"]
    answer = service.ask("POST", "/health")
    assert_problem(answer.headers["Content-Type"], answer.body, 405)
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: a\0b\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /items/é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET /" + b"a" * 1_000_000,
        b"GET /health HTTP/1.1\r\nX-Endless: " + b"a" * 1_000_000,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
    ],
)
def test_what_is_not_http(service: Service, data: bytes) -> None:
    assert re.match(rb"HTTP/1.1 4\d\d ", service.raw(data))


def test_a_tls_handshake_does_no_harm(service: Service) -> None:
    assert b"HTTP/1.1 2" not in service.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", timeout=0.5)


OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"connection: keep-alive, upgrade\r\nupgrade: H2C, foo\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_to_upgrade_is_ignored(service: Service, offer: bytes, chunked: bool) -> None:
    """RFC 9110, 7.8. The body is read, and the connection goes on: nobody takes the address's 404 for anything else."""
    body = b"5\r\nabcde\r\n0\r\n\r\n" if chunked else b"abcde"
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 5\r\n"
    request = b"POST /nowhere HTTP/1.1\r\nHost: x\r\n" + offer + length + b"\r\n" + body
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"\r\n"
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", service.raw(request * 2 + last))
    assert statuses == [b"404", b"404", b"200"]


def test_curl_with_http2(service: Service) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not here")
    command = [curl, "--silent", "--show-error", "--http2", "--data", "x" * 100_000, "--write-out", "%{http_code}"]
    done = subprocess.run([*command, f"{service.url}/nowhere"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("404"), done.stdout


def test_head_is_get_without_a_body(service: Service) -> None:
    answer = service.ask("HEAD", "/health")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "15")
    assert service.ask("HEAD", "/nope").status == 404


def test_a_body_that_is_too_large_is_refused_and_the_connection_lives(service: Service) -> None:
    connection = service.connect()
    answer = service.ask("POST", "/nowhere", b"a" * 10_000_000, connection=connection)
    assert_problem(answer.headers["Content-Type"], answer.body, 413)
    assert service.ask("GET", "/health", connection=connection).status == 200
    connection.close()


def test_docs_come_from_here(service: Service) -> None:
    """Neither a private subnet nor a browser behind it reaches a CDN."""
    page = service.ask("GET", "/docs").body.decode()
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) >= 2
    for file in files:
        assert file.startswith("/"), file
        assert service.ask("GET", file).status == 200
    assert "http" not in page.replace(service.url, "")


def test_openapi_names_every_operation(service: Service) -> None:
    document = service.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert {"/health", "/ready"} <= document["paths"].keys()


def test_log_level(environment: dict[str, str]) -> None:
    with running({**environment, "LOG_LEVEL": "error", "METRICS": "off"}) as service:
        wait_until(lambda: service.lines())
        assert {line["logger"] for line in service.lines()} == {"access"}
