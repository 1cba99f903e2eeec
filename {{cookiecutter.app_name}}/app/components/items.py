"""The example resource: items with a name and a description. Replace it with what you make."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from app.api import operation
from app.components import Base, database
from app.problems import Problem

# PostgreSQL's bigint, identities begin at 1.
ItemId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
# PostgreSQL's text can hold any character except NUL.
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Description = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00]*$")]


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """What a client says about an item."""

    name: Name
    description: Description = ""


class Item(msgspec.Struct):
    """An item as it is stored."""

    id: ItemId
    name: str
    description: str
    created_at: datetime


class Page(msgspec.Struct):
    """Which items to list: `limit` of them, those after the item `after`."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class Items(msgspec.Struct):
    """A page of items by ascending id; `next` is the `after` of the next page, null on the last."""

    items: list[Item]
    next: int | None


def _database(request: Request) -> database.Component:
    found: database.Component = request.app.state.components["database"]
    return found


@operation("GET", "/items", "List items, page by page", errors=(503,))
async def list_items(request: Request, query: Page) -> Items:
    """One row more than asked for tells whether there is a next page."""
    rows = await _database(request).read(
        "SELECT id, name, description, created_at FROM items WHERE id > $1 ORDER BY id LIMIT $2",
        query.after,
        query.limit + 1,
    )
    items = [Item(*row) for row in rows[: query.limit]]
    return Items(items, items[-1].id if len(rows) > query.limit else None)


@operation("POST", "/items", "Create an item", status=201, errors=(503,))
async def create_item(request: Request, body: NewItem) -> Item:
    """Insert one row."""
    rows = await _database(request).write(
        "INSERT INTO items (name, description) VALUES ($1, $2) RETURNING id, name, description, created_at",
        body.name,
        body.description,
    )
    return Item(*rows[0])


@operation("GET", "/items/{item_id}", "Get an item", errors=(404, 503))
async def get_item(request: Request, item_id: ItemId) -> Item:
    """Read one row."""
    rows = await _database(request).read("SELECT id, name, description, created_at FROM items WHERE id = $1", item_id)
    if not rows:
        raise Problem(404, f"There is no item {item_id}.")
    return Item(*rows[0])


@operation("DELETE", "/items/{item_id}", "Delete an item", status=204, errors=(404, 503))
async def delete_item(request: Request, item_id: ItemId) -> None:
    """Delete one row."""
    rows = await _database(request).write("DELETE FROM items WHERE id = $1 RETURNING id", item_id)
    if not rows:
        raise Problem(404, f"There is no item {item_id}.")


class Component(Base):
    """The operations; the state is the database's."""

    operations = (list_items, create_item, get_item, delete_item)
