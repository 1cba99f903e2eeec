"""The tables, for Alembic: `python -m app.migrate new "..."` writes the migration to what is here.

The service itself speaks SQL and does not import this module.
"""

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Table, Text, text

metadata = MetaData(
    # Names that are the same everywhere, so that a later migration can refer to them.
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

items = Table(
    "items",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
