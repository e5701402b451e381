"""What the client and the log are told when something goes wrong: nothing that is private.

An error of a run or of a store may quote the conversation, a key or a statement with its
parameters. So none of it reaches the client or the log, and none of it is the cause of what
does.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, ClassVar

from agents.exceptions import (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)

from openai_agents_session._catalog import CursorError, SessionExistsError, SessionNotFoundError
from openai_agents_session._errors import notes_of
from openai_agents_session._lease import LeaseLostError, SessionBusyError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_logger = logging.getLogger("openai_agents_session")

_REFUSALS = (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
_UNREACHABLE = (OSError, asyncio.TimeoutError)

_PACKAGE = __name__.partition(".")[0]
_BACKENDS = tuple(f"{_PACKAGE}.{name}" for name in ("redis", "dynamodb", "database"))
_CHECKS = (f"{_PACKAGE}._arguments", f"{_PACKAGE}.database._checks")

# By their names, since the libraries need not be installed.
_OF_STORES = {
    "advanced_alchemy.exceptions.RepositoryError",
    "botocore.exceptions.BotoCoreError",
    "botocore.exceptions.ClientError",
    "redis.exceptions.RedisError",
    "sqlalchemy.exc.SQLAlchemyError",
}


class WebError(Exception):
    """An answer to the client that is not what it asked for.

    Attributes:
        status_code: of the answer.
        detail: a sentence for people.
        headers: of the answer.
    """

    status_code: ClassVar[int] = 500
    detail: str = "Internal Server Error"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail


class BadCursorError(WebError):
    """The query is validated, but for what a cursor is made of."""

    status_code = 400
    detail = "after must be the cursor of a page."


class NoSearchError(WebError):
    """The store cannot search."""

    status_code = 400
    detail = "Conversations cannot be searched here."


class BadIdError(WebError):
    """An id is validated, but for how long it is in UTF-8."""

    status_code = 400
    detail = "session_id is too long."


class BadBodyError(WebError):
    """The body can't be read as JSON."""

    status_code = 400
    detail = "The body is no JSON, or nested too deeply."


class NotFoundError(WebError):
    """There is no such conversation, or it was deleted during the run."""

    status_code = 404
    detail = "There is no such conversation."


class ApprovalNeededError(WebError):
    """The run waits for the approval of a tool call, for which there is no route."""

    status_code = 409
    detail = "The agent waits for an approval."


class BusyError(WebError):
    """Another message to the conversation is being answered, and this one was not heard.

    For how long still, nobody knows: ``Retry-After`` keeps clients from asking in a loop.
    """

    status_code = 409
    detail = "Another message to this conversation is being answered."
    headers = {"Retry-After": "1"}  # noqa: RUF012 - as WebError declares it


class IdTakenError(WebError):
    """The user has a conversation of this id."""

    status_code = 409
    detail = "There is such a conversation already."


class TooLargeError(WebError):
    """The body is larger than any message needs."""

    status_code = 413
    detail = "Request Entity Too Large"


class NotJSONError(WebError):
    """The content type isn't JSON."""

    status_code = 415
    detail = "The content type must be application/json."


class RefusedError(WebError):
    """A guardrail stopped the run."""

    status_code = 422
    detail = "The agent refused the message."


class AgentFailedError(WebError):
    """The run failed: the model, a tool, or the agent itself."""

    status_code = 502
    detail = "The agent could not answer."


class UnavailableError(WebError):
    """The conversation could not be read or written."""

    status_code = 503
    detail = "The conversation is not available right now."


class InterruptedRunError(UnavailableError):
    """The run's lease was lost: the process or the store stood still for longer than it lives.

    It is no 409, because part of the run may be stored: to send the message again is not to begin
    anew.
    """

    detail = "The run was interrupted, and not all of it was stored."


# Errors that are answers, and nothing for the log: classes, names of others, the answer.
_TOLD: tuple[tuple[tuple[type[Exception], ...], set[str], type[WebError]], ...] = (
    (_REFUSALS, set(), RefusedError),
    ((SessionNotFoundError,), {"advanced_alchemy.exceptions.NotFoundError"}, NotFoundError),
    ((SessionExistsError,), set(), IdTakenError),
    ((CursorError,), set(), BadCursorError),
    ((SessionBusyError,), set(), BusyError),
)


def failure(error: Exception, what: str, otherwise: type[WebError] = AgentFailedError) -> WebError:
    """Return the client's answer for an error, and log its class.

    Args:
        error: what was raised.
        what: failed, for the log.
        otherwise: the answer to what is neither a guardrail's refusal nor the store's.
    """
    if isinstance(error, WebError):
        return error
    for kinds, names, told in _TOLD:
        if isinstance(error, kinds) or _is_one_of(error, names):
            return told()
    kind = type(error)
    # What our own checks of arguments say quotes no value, and our own notes quote nothing.
    said = [str(error)] if _arose_in(error, _CHECKS) else notes_of(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    _logger.warning("%s failed: %s", what, ": ".join([name, *said]))
    if isinstance(error, LeaseLostError):
        return InterruptedRunError()
    # asyncpg raises its own errors, and the event loop's, until there is a login; so may a model.
    of_store = _is_one_of(error, _OF_STORES) or (
        (isinstance(error, _UNREACHABLE) or hasattr(error, "sqlstate"))
        and _arose_in(error, _BACKENDS)
    )
    return UnavailableError() if of_store else otherwise()


def is_refusal(error: ValueError) -> bool:
    """Whether it is one of our own checks of arguments that raised a ValueError."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    module = frame.f_globals.get("__name__", "")
    return type(error) is ValueError and f"{module}.".startswith(f"{_PACKAGE}.")


def _is_one_of(error: Exception, names: set[str]) -> bool:
    """Whether an error's class, or one that it derives from, has one of these names."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _arose_in(error: Exception, modules: tuple[str, ...]) -> bool:
    """Whether a call that failed led through one of these modules or packages."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return any(f"{name}.".startswith(f"{module}.") for name in names for module in modules)


@contextmanager
def quietly(what: str, otherwise: type[WebError] = WebError) -> Generator[None]:
    """Turn errors of the store into a 503, and the application's own mistakes into a 500.

    Args:
        what: is done, for the log.
        otherwise: the answer to what is not the store's.

    Raises:
        WebError: in place of any error.
    """
    try:
        yield
    except _UNREACHABLE as error:
        raise failure(error, what, UnavailableError) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
        of_driver = hasattr(error, "sqlstate")
        raise failure(error, what, UnavailableError if of_driver else otherwise) from None
