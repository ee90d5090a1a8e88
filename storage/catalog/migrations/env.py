"""Alembic's entry point: runs the migrations on the connection that `migrate` hands over, inside its transaction."""

from alembic import context

from storage.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
