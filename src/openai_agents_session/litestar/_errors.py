"""The answers to errors, as Litestar raises them and shows them in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.exceptions.responses import create_exception_response

from openai_agents_session._web import errors, routes

if TYPE_CHECKING:
    from litestar import Request, Response


class NotJSONException(HTTPException):
    """The content type isn't JSON."""

    status_code = errors.NotJSONError.status_code
    detail = errors.NotJSONError.detail


class RefusedException(HTTPException):
    """A guardrail stopped the run."""

    status_code = errors.RefusedError.status_code
    detail = errors.RefusedError.detail


class ApprovalNeededException(HTTPException):
    """The run waits for the approval of a tool call, for which there is no route."""

    status_code = errors.ApprovalNeededError.status_code
    detail = errors.ApprovalNeededError.detail


class IdTakenException(HTTPException):
    """The user has a conversation of this id."""

    status_code = errors.IdTakenError.status_code
    detail = errors.IdTakenError.detail


class AgentFailedException(HTTPException):
    """The run failed: the model, a tool, or the agent itself."""

    status_code = errors.AgentFailedError.status_code
    detail = errors.AgentFailedError.detail


class UnavailableException(HTTPException):
    """The conversation could not be read or written."""

    status_code = errors.UnavailableError.status_code
    detail = errors.UnavailableError.detail


_EXCEPTIONS: dict[type[errors.WebError], type[HTTPException]] = {
    errors.NotFoundError: NotFoundException,
    errors.ApprovalNeededError: ApprovalNeededException,
    errors.IdTakenError: IdTakenException,
    errors.TooLargeError: RequestEntityTooLarge,
    errors.NotJSONError: NotJSONException,
    errors.RefusedError: RefusedException,
    errors.AgentFailedError: AgentFailedException,
    errors.UnavailableError: UnavailableException,
}


def raised_by(route: routes.Route) -> list[type[HTTPException]]:
    """Return the errors of a route, for OpenAPI; Litestar adds those of validation."""
    of_login = [] if route is routes.HEALTH else [NotAuthorizedException]
    return [*of_login, *(_EXCEPTIONS[each] for each in route.raises)]


def answer_error(request: Request[Any, Any, Any], error: errors.WebError) -> Response[Any]:
    """Answer with the error's status and sentence, in debug mode too."""
    told = HTTPException(error.detail, status_code=error.status_code)
    return create_exception_response(request, told)
