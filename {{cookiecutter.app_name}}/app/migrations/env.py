"""Alembic's entry point: runs the migrations on the connection that `app.migrate` made."""

from alembic import context

from app.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=context.config.attributes["schema"],
    # Alembic's own table is in that schema, and in no model: `new` would write a migration that drops it.
    include_name=lambda name, kind, _: not (kind == "table" and name == "alembic_version"),
    # Each migration commits by itself, so that one may leave the transaction
    # (`op.get_context().autocommit_block()` for CREATE INDEX CONCURRENTLY).
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
