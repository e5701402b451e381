"""What the client and the log are told when something goes wrong: nothing that is private.

An error of a run or of a database may quote the conversation, a key or a statement with its
parameters. So none of it reaches the client or the log, and none of it is the cause of what
does.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from traceback import walk_tb
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
    HTTP_404_NOT_FOUND,
    HTTP_409_CONFLICT,
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
_UNREACHABLE = (OSError, asyncio.TimeoutError)
_DATABASE_PACKAGE = CursorError.__module__.rpartition(".")[0]


class NotJSONException(HTTPException):
    """The content type isn't JSON."""

    status_code = HTTP_415_UNSUPPORTED_MEDIA_TYPE
    detail = "The content type must be application/json."


class RefusedException(HTTPException):
    """A guardrail stopped the run."""

    status_code = HTTP_422_UNPROCESSABLE_ENTITY
    detail = "The agent refused the message."


class ApprovalNeededException(HTTPException):
    """The run waits for the approval of a tool call, for which there is no route."""

    status_code = HTTP_409_CONFLICT
    detail = "The agent waits for an approval."


class DeletedException(HTTPException):
    """The conversation was deleted during the run."""

    status_code = HTTP_404_NOT_FOUND
    detail = "There is no such conversation."


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
    """Return the client's answer for an error, and log its class.

    Args:
        error: what was raised.
        what: failed, for the log.
        otherwise: the answer to what is neither a guardrail's refusal nor the database's.
    """
    if isinstance(error, _REFUSALS):
        return RefusedException()
    if isinstance(error, ApprovalNeededException):
        return error
    if isinstance(error, NotFoundError):
        return DeletedException()
    kind = type(error)
    # What our own checks of arguments say quotes no value.
    said = f": {error}" if _arose_in(error, f"{_DATABASE_PACKAGE}._checks") else ""
    _logger.warning("%s failed: %s.%s%s", what, kind.__module__, kind.__qualname__, said)
    # asyncpg raises its own errors, and the event loop's, until there is a login; so may a model.
    database = isinstance(error, (SQLAlchemyError, RepositoryError)) or (
        (isinstance(error, _UNREACHABLE) or hasattr(error, "sqlstate"))
        and _arose_in(error, _DATABASE_PACKAGE)
    )
    return UnavailableException() if database else otherwise()


def _arose_in(error: Exception, module: str) -> bool:
    """Whether a call that failed led through a module, or a package."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(f"{name}.".startswith(f"{module}.") for name in names)


@contextmanager
def quietly(what: str) -> Generator[None]:
    """Turn errors of the database into a 503, and the application's own mistakes into a 500.

    Raises:
        litestar.exceptions.HTTPException: in place of any error but the next one.
        advanced_alchemy.exceptions.NotFoundError: as it is; it quotes nothing.
        CursorError: likewise.
    """
    try:
        yield
    except (NotFoundError, CursorError):
        raise
    except _UNREACHABLE as error:
        raise failure(error, what, UnavailableException) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
        drivers = hasattr(error, "sqlstate")
        otherwise = UnavailableException if drivers else InternalServerException
        raise failure(error, what, otherwise) from None
