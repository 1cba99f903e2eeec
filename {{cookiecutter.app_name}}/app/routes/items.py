"""The example resource: items with a name and a description. Replace it with what you make."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from app.database import database

router = APIRouter(prefix="/items", tags=["items"])
parts = (database,)

# PostgreSQL's bigint; identities begin at 1.
LARGEST = 2**63 - 1
ItemId = Annotated[int, Path(ge=1, le=LARGEST)]
WITHOUT_NUL = r"^[^\x00]*$"  # PostgreSQL's text can hold any other character.


class NewItem(BaseModel):
    """What a client says about an item."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=WITHOUT_NUL)
    description: str = Field("", max_length=2000, pattern=WITHOUT_NUL)


class Item(BaseModel):
    """An item as it is stored: the columns of the table."""

    id: int
    name: str
    description: str
    created_at: datetime


class Items(BaseModel):
    """A page of items by ascending id; `next` is the `after` of the next page, null on the last."""

    items: list[Item]
    next: int | None


COLUMNS, GIVEN = ", ".join(Item.model_fields), ", ".join(NewItem.model_fields)
PLACES = ", ".join(f"${number}" for number, _ in enumerate(NewItem.model_fields, 1))
LIST = f"SELECT {COLUMNS} FROM items WHERE id > $1 ORDER BY id LIMIT $2"  # noqa: S608 - names of fields
GET = f"SELECT {COLUMNS} FROM items WHERE id = $1"  # noqa: S608
CREATE = f"INSERT INTO items ({GIVEN}) VALUES ({PLACES}) RETURNING {COLUMNS}"  # noqa: S608


@router.get("")
async def list_items(
    limit: Annotated[int, Query(ge=1, le=100)] = 20, after: Annotated[int, Query(ge=0, le=LARGEST)] = 0
) -> Items:
    """List items, page by page: `limit` of them, those after the item `after`."""
    rows = await database.read(LIST, after, limit + 1)  # One more tells whether there is a next page.
    items = [Item(**row) for row in rows[:limit]]
    return Items(items=items, next=items[-1].id if len(rows) > limit else None)


@router.post("", status_code=201)
async def create_item(new: NewItem) -> Item:
    """Create an item."""
    (row,) = await database.write(CREATE, *new.model_dump().values())
    return Item(**row)


@router.get("/{item_id}")
async def get_item(item_id: ItemId) -> Item:
    """Get an item."""
    for row in await database.read(GET, item_id):
        return Item(**row)
    raise HTTPException(404, f"There is no item {item_id}.")


@router.delete("/{item_id}", status_code=204)
async def delete_item(item_id: ItemId) -> None:
    """Delete an item."""
    if not await database.write("DELETE FROM items WHERE id = $1 RETURNING id", item_id):
        raise HTTPException(404, f"There is no item {item_id}.")
