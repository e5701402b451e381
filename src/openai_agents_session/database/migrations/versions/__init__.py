"""The revisions, which Alembic reads as files."""
