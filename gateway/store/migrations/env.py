"""Run by Alembic: migrate over the connection that the store hands in, inside the store's own transaction."""

from alembic import context

from gateway.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
