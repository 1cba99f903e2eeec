"""The example resource, over HTTP."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from app.models import metadata
from app.routes.items import Item, NewItem
from app.tests.service import Service


def test_create_read_delete(service: Service) -> None:
    created = service.ask("POST", "/items", {"name": "Größe 'x'; DROP TABLE items; -- 🎈"})
    assert created.status == 201
    item = created.json
    assert item["name"] == "Größe 'x'; DROP TABLE items; -- 🎈"
    assert item["description"] == ""
    path = f"/items/{item['id']}"
    assert service.ask("GET", path).json == item
    deleted = service.ask("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    assert service.ask("GET", path).status == 404
    assert service.ask("DELETE", path).status == 404


def test_paging_shows_every_item_once(service: Service) -> None:
    marker = uuid.uuid4().hex
    made = [service.ask("POST", "/items", {"name": marker}).json["id"] for _ in range(25)]
    seen: list[int] = []
    after: int | None = made[0] - 1
    while after is not None:
        page = service.ask("GET", f"/items?limit=10&after={after}").json
        assert len(page["items"]) <= 10
        seen += [item["id"] for item in page["items"] if item["name"] == marker]
        after = page["next"]
    assert seen == made


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=1.5", "after=-1", "after=99999999999999999999"],
)
def test_bad_pages(service: Service, query: str) -> None:
    answer = service.ask("GET", f"/items?{query}")
    assert answer.status == 422
    assert query.partition("=")[0] in answer.json["detail"]


@pytest.mark.parametrize(
    "identity",
    [
        "abc",
        "0",
        "-1",
        "1.5",
        "9223372036854775808",
        "1%20OR%201=1",
        "1;DROP%20TABLE%20items",
        "%00",
    ],
)
def test_bad_ids(service: Service, identity: str) -> None:
    answer = service.ask("GET", f"/items/{identity}")
    assert answer.status == 422
    assert "item_id" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"name": "\\ud800"}', 422),
        (b"[" * 50_000, 400),
        (b'{"name": ' + b"[" * 50_000, 400),
        (b'{"name": ' + b"1" * 50_000 + b"}", 400),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"name": 1}', 422),
        (b'{"name": ""}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b'{"name": "a", "nmae": "b"}', 422),  # codespell:ignore nmae
        (json.dumps({"name": "x" * 201}).encode(), 422),
        (json.dumps({"name": "x", "description": "x" * 2001}).encode(), 422),
    ],
)
def test_bad_bodies(service: Service, body: bytes, status: int) -> None:
    answer = service.ask("POST", "/items", body, {"Content-Type": "application/json"})
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"Traceback" not in answer.body


def test_a_body_that_is_wrong_everywhere_is_answered_in_few_words(service: Service) -> None:
    answer = service.ask("POST", "/items", {"name": "a"} | dict.fromkeys(map(str, range(5000)), 1))
    assert answer.status == 422
    assert answer.json["detail"].endswith("; and 4980 more")
    assert len(answer.body) < 2000


def test_body_must_be_json(service: Service) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        answer = service.ask("POST", "/items", b'{"name":"a"}', {"Content-Type": media_type})
        assert answer.status == 415
    good = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert service.ask("POST", "/items", b'{"name":"a"}', good).status == 201


def test_huge_bodies_are_refused_and_the_connection_lives(service: Service) -> None:
    connection = service.connect()
    headers = {"Content-Type": "application/json"}
    huge = b'{"name": "' + b"a" * 10_000_000 + b'"}'
    answer = service.ask("POST", "/items", huge, headers, connection)
    assert answer.status == 413
    assert service.ask("GET", "/health", connection=connection).status == 200

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"a" * 100_000

    connection.request("POST", "/items", endless(), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_the_client_gets_every_column() -> None:
    """What is an item is told in two places, to the client and to Alembic: they say the same."""
    assert list(Item.model_fields) == [column.name for column in metadata.tables["items"].columns]
    assert NewItem.model_fields.keys() < Item.model_fields.keys()
