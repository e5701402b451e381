"""What Alembic's autogenerate has to know of the models' column types.

For an application that has the tables on its own base, in the ``env.py`` of its migrations::

    context.configure(connection=connection, target_metadata=…, **autogenerate_options())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from advanced_alchemy.types import GUID, DateTimeUTC
from sqlalchemy import Numeric

from openai_agents_session.database.types import MAX_SESSION_ID_BYTES, SessionKey

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

_UUID_BYTES = 16


def autogenerate_options() -> dict[str, Any]:
    """Return ``render_item`` and ``compare_type`` for Alembic's ``context.configure``.

    With them a revision imports what it names, and SQLite's keys do not look changed. An
    application with functions of its own for the two calls ``render_item`` and
    ``compare_type`` of this module in them.
    """
    return {"render_item": render_item, "compare_type": compare_type}


def render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """Return the text of a column type in a revision, and let the revision import it.

    Args:
        kind: what is rendered, such as ``type``.
        item: the object itself.
        context: Alembic's, which gathers the imports.

    Returns:
        ``False`` for all that is not a type of the models, which leaves it to Alembic (its
        documentation, "Affecting the Rendering of Types Themselves").
    """
    if kind != "type":
        return False
    if isinstance(item, SessionKey):  # in the database a text, and a revision need not know more
        return f"{context.opts['sqlalchemy_module_prefix']}String(length={MAX_SESSION_ID_BYTES})"
    if type(item) in (GUID, DateTimeUTC):
        context.imports.add("import advanced_alchemy.types")
        return f"advanced_alchemy.types.{item!r}"
    return False


def compare_type(
    context: object,  # noqa: ARG001 - Alembic's signature
    inspected_column: object,  # noqa: ARG001 - Alembic's signature
    metadata_column: object,  # noqa: ARG001 - Alembic's signature
    inspected_type: object,
    metadata_type: object,
) -> bool | None:
    """Tell whether a column of the database has another type than the model.

    Returns:
        ``None`` where that is left to Alembic, as with all but the keys of SQLite.
    """
    # SQLite has no such type as BINARY(16), and reflects it as a number of 16 digits.
    if isinstance(metadata_type, GUID) and isinstance(inspected_type, Numeric):
        return inspected_type.precision != _UUID_BYTES
    return None
