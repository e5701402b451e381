"""The answers to errors, as Litestar raises them and shows them in the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.exceptions.responses import create_exception_response
from litestar.openapi.spec import OpenAPIHeader, OpenAPIType, Operation, Schema

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


class BusyException(HTTPException):
    """Another message to the conversation is being answered."""

    status_code = errors.BusyError.status_code
    detail = errors.BusyError.detail


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
    errors.BusyError: BusyException,
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
    # One for each status: of several, Litestar would say that a body has to be exactly one's.
    each_once = {each.status_code: _EXCEPTIONS[each] for each in route.raises}
    return [*of_login, *each_once.values()]


def operation_of(route: routes.Route) -> type[Operation]:
    """Return what makes a route's part of the OpenAPI document: Litestar shows no such headers."""

    @dataclass
    class Shown(Operation):
        def __post_init__(self) -> None:
            responses: dict[str, Any] = {**(self.responses or {})}
            for status, description in route.answers().items():
                responses[str(status)].description = description
            for error in route.raises:
                if error.headers:
                    responses[str(error.status_code)].headers = {
                        name: OpenAPIHeader(
                            schema=Schema(type=OpenAPIType.INTEGER),
                            description=routes.HEADERS[name],
                        )
                        for name in error.headers
                    }

    return Shown


def answer_error(request: Request[Any, Any, Any], error: errors.WebError) -> Response[Any]:
    """Answer with the error's status and sentence, in debug mode too."""
    headers = {"Cache-Control": "no-store", **error.headers}  # Litestar sets it where all is well
    told = HTTPException(error.detail, status_code=error.status_code, headers=headers)
    return create_exception_response(request, told)
