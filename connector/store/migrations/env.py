"""Runs the migrations on the connection that `connector.store.database.migrate` hands over."""

from alembic import context

from connector.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
