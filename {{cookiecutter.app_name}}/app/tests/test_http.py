"""What every answer has, and what bad input gets."""

from __future__ import annotations

import json
import re
import socket
import time

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
    for path in ("/", "/nope", "/health/", "//", "/%2e%2e/etc/passwd", "/health%00"):
        answer = service.ask("GET", path)
        assert answer.status == 404, path
        problem = assert_problem(answer.headers["Content-Type"], answer.body, 404)
        assert problem["request_id"] == answer.headers["X-Request-Id"]
    answer = service.ask("POST", "/health")
    assert_problem(answer.headers["Content-Type"], answer.body, 405)
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("count", [101, 5_000])
def test_too_many_headers(service: Service, count: int) -> None:
    answer = service.raw(
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + b"".join(b"X-%d: y\r\n" % number for number in range(count))
        + b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX-Endless: " + b"a" * 1_000_000,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
        b"GET /" + b"a" * 1_000_000,
    ],
)
def test_heads_without_an_end(service: Service, head: bytes) -> None:
    assert service.raw(head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_not_http(service: Service, data: bytes) -> None:
    answer = service.raw(data)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer
    assert b"application/problem+json" in answer


def test_slow_heads_are_cut(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        for _ in range(8):
            time.sleep(1)
            connection.sendall(b"X: y\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 15


def test_openapi_names_every_operation(service: Service) -> None:
    document = service.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert {"/health", "/ready"} <= document["paths"].keys()


def test_metrics_are_embedded(environment: dict[str, str]) -> None:
    with running(environment) as service:
        for _ in range(250):
            service.ask("GET", "/health")
        service.ask("GET", "/nope")
        assert service.stop() == 0
        documents = [line for line in service.lines() if "_aws" in line]
    latencies: list[float] = []
    client_errors = 0
    for document in documents:
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == environment["APP_NAME"]
        assert directive["Dimensions"] == [["Environment"]]
        assert document["Environment"] == environment["ENVIRONMENT"]
        for metric in directive["Metrics"]:
            values = document[metric["Name"]]
            assert 1 <= len(values) <= 100, "CloudWatch takes at most 100 values in a document"
        latencies += document.get("RequestLatency", [])
        client_errors += sum(document.get("ClientErrors", []))
    assert len(latencies) >= 251
    assert client_errors == 1


def test_metrics_can_be_turned_off(environment: dict[str, str]) -> None:
    with running({**environment, "METRICS": "off"}) as service:
        assert service.stop() == 0
        assert not [line for line in service.lines() if "_aws" in line]


def test_log_level(environment: dict[str, str]) -> None:
    with running({**environment, "LOG_LEVEL": "error", "METRICS": "off"}) as service:
        wait_until(lambda: service.lines())
        assert {line["logger"] for line in service.lines()} == {"access"}
