"""What the client and the log are told when something goes wrong: nothing that is private.

An error of a run or of a database may quote the conversation, a key or a statement with its
parameters. So none of it reaches the client or the log, and none of it is the cause of what
does.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from advanced_alchemy.exceptions import NotFoundError, RepositoryError
from agents.exceptions import (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
from litestar.exceptions import HTTPException, InternalServerException
from litestar.status_codes import (
    HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    HTTP_422_UNPROCESSABLE_ENTITY,
    HTTP_502_BAD_GATEWAY,
    HTTP_503_SERVICE_UNAVAILABLE,
)
from sqlalchemy.exc import SQLAlchemyError

from openai_agents_session.database import CursorError

if TYPE_CHECKING:
    from collections.abc import Generator

_logger = logging.getLogger("openai_agents_session")

_REFUSALS = (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
_DATABASE = (SQLAlchemyError, RepositoryError, ConnectionError)


class NotJSONException(HTTPException):
    """The body is said to be something else than JSON."""

    status_code = HTTP_415_UNSUPPORTED_MEDIA_TYPE
    detail = "The content type must be application/json."


class RefusedException(HTTPException):
    """A guardrail stopped the run."""

    status_code = HTTP_422_UNPROCESSABLE_ENTITY
    detail = "The agent refused the message."


class AgentFailedException(HTTPException):
    """The run failed: the model, a tool, or the agent itself."""

    status_code = HTTP_502_BAD_GATEWAY
    detail = "The agent could not answer."


class UnavailableException(HTTPException):
    """The conversation could not be read or written."""

    status_code = HTTP_503_SERVICE_UNAVAILABLE
    detail = "The conversation is not available right now."


def failure(
    error: Exception, what: str, otherwise: type[HTTPException] = AgentFailedException
) -> HTTPException:
    """Return what the client is told of an error, and tell the operator its kind.

    Args:
        error: what was raised.
        what: failed, for the log.
        otherwise: the answer to what is neither a guardrail's refusal nor the database's.
    """
    if isinstance(error, _REFUSALS):
        return RefusedException()
    kind = type(error)
    _logger.warning("%s failed: %s.%s", what, kind.__module__, kind.__qualname__)
    # asyncpg raises its own errors, and not SQLAlchemy's, until there is a login.
    database = isinstance(error, _DATABASE) or hasattr(error, "sqlstate")
    return UnavailableException() if database else otherwise()


@contextmanager
def quietly(what: str) -> Generator[None]:
    """Turn what the database raises into a 503, and a mistake of the application's into a 500.

    Raises:
        litestar.exceptions.HTTPException: in place of any error but the next one.
        advanced_alchemy.exceptions.NotFoundError: as it is; it quotes nothing.
        CursorError: likewise.
    """
    try:
        yield
    except (NotFoundError, CursorError):
        raise
    except (OSError, asyncio.TimeoutError) as error:
        raise failure(error, what, UnavailableException) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
        raise failure(error, what, InternalServerException) from None
