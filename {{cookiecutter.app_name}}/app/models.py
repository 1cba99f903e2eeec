"""The tables, for Alembic alone, which writes migrations to what is here: docs/runbooks/migrate.md."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Table, Text, text

metadata = MetaData()

items = Table(
    "items",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
