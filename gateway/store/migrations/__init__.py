"""Alembic's folder: the schema's history, applied when the store is opened."""
