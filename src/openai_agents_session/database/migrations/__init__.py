"""The Alembic migration of the shipped tables.

An application includes ``openai_agents_session.database:migrations/versions`` in its
``version_locations``; ``python -m openai_agents_session.database`` runs it alone.
"""
