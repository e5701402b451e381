"""One DynamoDB table, reached by aiobotocore: all that is known of that library and botocore.

A request is sent again for about a second after botocore gave up, as long as nobody knows whether
it was done, or it was refused for now. Nothing here knows of conversations.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from aiobotocore.client import AioBaseClient
from aiobotocore.session import ClientCreatorContext
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from openai_agents_session._errors import add_note
from openai_agents_session._home import home_of
from openai_agents_session._pauses import Pauses
from openai_agents_session._settle import is_carried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Mapping

MAX_FRUITLESS = 10
"""How many batches of which DynamoDB processes nothing pass for throttling; as often as
botocore tries a single call (botocore, ``data/_retry.json``)."""

FAILED = (BotoCoreError, ClientError, asyncio.TimeoutError)
"""What a call may raise where the store is away, or refuses it."""

# The codes are those of the Amazon DynamoDB Developer Guide, "Error handling with DynamoDB", of
# the API reference, "Common Errors", and of what botocore takes for throttling
# (``botocore/retries/standard.py``). ``docs/errors.md`` says the same to users.

REFUSED_FOR_NOW = frozenset(
    {
        # throttled
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        # somebody else is writing to the item
        "ReplicatedWriteConflictException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Nothing was done, and the same request may be done in a moment."""

UNKNOWN = frozenset({"RequestTimeout", "RequestTimeoutException"})
"""As a server error: nobody knows whether it was done."""

_CONDITION = "ConditionalCheckFailedException"
_LOST = (ConnectionError, HTTPClientError, asyncio.TimeoutError)
_SERVER_ERROR = 500


class ConditionFailedError(Exception):
    """A write was refused by its condition.

    Attributes:
        item: what was stored then; None where the store does not say.
        resent: whether the write was sent more than once, so that an earlier attempt may
            have been done.
        error: what botocore raised.
    """

    def __init__(self, error: ClientError, *, resent: bool) -> None:
        super().__init__(str(error))
        response: dict[str, Any] = {**error.response}
        self.item: dict[str, Any] | None = response.get("Item")
        self.resent = resent or _was_resent(error)
        self.error = error


class Table:
    """A table that one client reaches.

    Args:
        client: an aiobotocore client for DynamoDB that was entered.
        name: the table's name or ARN.

    Raises:
        TypeError: the client is none, or the name no text.
        ValueError: the name is empty.
    """

    def __init__(self, client: AioBaseClient, name: str) -> None:
        self._use(_checked_client(client))
        if not isinstance(name, str):
            raise TypeError(f"table_name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("table_name must not be empty")
        self.name = name

    def _use(self, client: AioBaseClient) -> None:
        self._client: Any = client
        _renew_moments_of(client)

    def _check_usable(self) -> None:
        """Raise RuntimeError if the client may not be used here and now."""
        _check_home(self._client)

    async def call(
        self, operation: str, *, seconds: Mapping[str, int] | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Call an operation on the table, and again while its answer is lost.

        A write must stand being done twice, or carry a condition that forbids it.

        Args:
            operation: the client's method.
            seconds: for values of the request that are moments, by their names: how many
                seconds each is from when it is sent.
            parameters: the request.

        Raises:
            ConditionFailedError: the write's condition does not hold.
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: as
                botocore raises them.
        """
        return await self._send(operation, seconds or {}, TableName=self.name, **parameters)

    async def answers(self, operation: str, **parameters: Any) -> bool:
        """Return whether the store answers to an operation, and not with an error."""
        try:
            await self.call(operation, **parameters)
        except (ConnectionError, HTTPClientError):
            return False
        return True

    async def read_batch(
        self, keys: list[dict[str, Any]], **projection: Any
    ) -> list[dict[str, Any]]:
        """Return the items of these keys, as of now, in any order; 100 keys at most."""
        request = {"Keys": keys, "ConsistentRead": True, **projection}
        items = []
        async for answer in self._batches("batch_get_item", request, "UnprocessedKeys"):
            for found in answer["Responses"].values():
                items += found
        return items

    async def write_batch(self, requests: list[dict[str, Any]]) -> None:
        """Put and delete items, each for itself; 25 and 16 MB at most."""
        async for _ in self._batches("batch_write_item", requests, "UnprocessedItems"):
            pass

    def error(self, code: str, operation: str, message: str) -> ClientError:
        """Return an error as DynamoDB has it, with a message of ours."""
        response = {"Error": {"Code": code, "Message": message}}
        return getattr(self._client.exceptions, code)(response, operation)

    async def _batches(
        self, operation: str, request: Any, unprocessed: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Call a batch operation until nothing of the request is left."""
        fruitless = 0
        pauses = Pauses(0.05, 2.0)
        while True:
            answer = await self._send(operation, {}, RequestItems={self.name: request})
            yield answer
            if not answer.get(unprocessed):
                return
            before, request = request, next(iter(answer[unprocessed].values()))
            fruitless = fruitless + 1 if request == before else 0
            if fruitless == MAX_FRUITLESS:
                message = f"nothing of {fruitless} batches in a row was done"
                raise self.error("ProvisionedThroughputExceededException", operation, message)
            if fruitless:  # it is throttled; otherwise the answer had no room for more
                await pauses.wait()

    async def _send(
        self, operation: str, seconds: Mapping[str, int], **parameters: Any
    ) -> dict[str, Any]:
        pauses = Pauses(0.02, 0.4)
        lost = False  # whether an earlier request may have been done
        while True:
            await pauses.wait()
            self._check_usable()
            try:
                with _moments(parameters, seconds) as request:
                    return await getattr(self._client, operation)(**request)
            except ClientError as exc:
                if code_of(exc) == _CONDITION:
                    raise ConditionFailedError(exc, resent=lost) from exc
                _explain(exc, self.name)
                if not _may_pass(exc):
                    raise
                lost = lost or code_of(exc) not in REFUSED_FOR_NOW or _was_resent(exc)
                error: BaseException = exc
            except _LOST as exc:
                _check_open(exc)
                error, lost = exc, True
            except asyncio.CancelledError as exc:
                if not is_carried():
                    raise
                error, lost = exc, True
            if not pauses.may_retry():
                raise error


# --- errors ----------------------------------------------------------------------------------


def code_of(error: BaseException) -> str:
    """Return the name that DynamoDB gives an error; an empty one if it is none of DynamoDB's."""
    return error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""


def _may_pass(error: ClientError) -> bool:
    """Whether the same request may be done in a moment."""
    status = _metadata(error).get("HTTPStatusCode", 0)
    return code_of(error) in REFUSED_FOR_NOW | UNKNOWN or status >= _SERVER_ERROR


def _was_resent(error: ClientError) -> bool:
    """Whether botocore has sent the request several times by itself."""
    return _metadata(error).get("RetryAttempts", 0) > 0


def _metadata(error: ClientError) -> dict[str, Any]:
    response: dict[str, Any] = {**error.response}
    return response.get("ResponseMetadata", {})


def _explain(error: ClientError, table: str) -> None:
    """Add to an error what is most likely wrong."""
    code = code_of(error)
    if code == "ResourceNotFoundException":
        add_note(
            error,
            f"Is there a table {table!r} in this region? "
            "openai_agents_session.dynamodb.create_table_if_not_exists makes one.",
        )
    elif code == "ValidationException" and error.operation_name == "Query":
        add_note(
            error,
            f"The table {table!r} needs an index to list a user's conversations: the store's "
            "setup() makes it, or create_table_if_not_exists(…, users=True).",
        )
    elif code == "InvalidSignatureException":
        add_note(
            error,
            "Is the secret key right, and the clock of this machine? AWS takes only requests "
            "that were signed within five minutes of its own time.",
        )


# --- the client: whether it is one, and may be used here and now -----------------------------

_RIGHT = 'async with aiobotocore.session.get_session().create_client("dynamodb") as client:'

_left: WeakSet[AioBaseClient] = WeakSet()
"""Clients whose connections were left behind: in an event loop that is closed, or in the process
from which this one was forked."""


def _checked_client(client: object) -> AioBaseClient:
    if isinstance(client, ClientCreatorContext):
        raise TypeError(
            "dynamodb_client was created but not entered: use "
            "'async with session.create_client(\"dynamodb\") as client' and pass the client"
        )
    if not isinstance(client, AioBaseClient):
        kind = type(client)
        raise TypeError(
            "dynamodb_client must be an aiobotocore client for DynamoDB, from 'async with "
            'aiobotocore.session.get_session().create_client("dynamodb") as client\', '
            f"not {kind.__module__}.{kind.__qualname__}"
        )
    service = client.meta.service_model.service_name
    if service != "dynamodb":
        raise TypeError(f"dynamodb_client must be a client for dynamodb, not for {service}")
    return client


def _check_home(client: AioBaseClient) -> None:
    """Make sure that a client's connections belong to this event loop and this process.

    aiobotocore has no way to let go of connections without using their event loop.

    Raises:
        RuntimeError: they do not; nothing was sent.
    """
    try:
        moved = client in _left or home_of(client).move_here()
    except RuntimeError as exc:
        raise _wrong_home("another event loop") from exc
    # The application may have used it before any session did.
    if any(loop is not asyncio.get_running_loop() for loop in _loops_of(client)):
        raise _wrong_home("another event loop")
    if moved:
        _left.add(client)
        raise _wrong_home("an event loop that is closed, or to another process")


def _loops_of(client: Any) -> list[Any]:
    """Return the event loops of aiohttp's sessions in a client; ``[]`` where it has others.

    Neither library tells in public (aiobotocore, ``AIOHTTPSession``; aiohttp,
    ``ClientSession``).
    """
    http = getattr(getattr(client, "_endpoint", None), "http_session", None)
    sessions = getattr(http, "_sessions", None) or {}
    return [each._loop for each in sessions.values() if hasattr(each, "_loop")]


def _wrong_home(where: str) -> RuntimeError:
    return RuntimeError(
        f"dynamodb_client belongs to {where}: its connections work there alone, and nothing was "
        f"sent. Make a client in each event loop and each process: '{_RIGHT}'"
    )


def _check_open(error: BaseException) -> None:
    """Make sure that it was not for want of an open client that a request failed.

    Raises:
        RuntimeError: the client was closed before; nothing was sent.
    """
    cause = error.kwargs.get("error") if isinstance(error, HTTPClientError) else None
    # What aiohttp and aiobotocore say of it: "Session is closed", and that there is none.
    if isinstance(cause, AttributeError) or "is closed" in str(cause):
        raise RuntimeError(
            "dynamodb_client is closed: its 'async with' block is over. Use the session within "
            f"it, and make a client that lives as long as its sessions: '{_RIGHT}'"
        ) from error


# --- values of a request that are moments, counted from when it is sent -----------------------

# A request may be sent again long after it was made. Where this is done here, the values are made
# anew. botocore does it by itself as well, and tells its handlers of every request that it makes,
# before it signs it (boto3's documentation, "Event system"; ``Endpoint.create_request``).

_VALUES = "ExpressionAttributeValues"

_sending: ContextVar[_Sending | None] = ContextVar("_sending", default=None)


class _Sending:
    def __init__(self, seconds: Mapping[str, int]) -> None:
        self.seconds = seconds
        self.began = False


def _renew_moments_of(client: AioBaseClient) -> None:
    """Keep moments right in what a client sends again; once or more often for each client."""
    events = client.meta.events
    events.register_first("request-created.dynamodb.UpdateItem", _renew, unique_id=__name__)


@contextmanager
def _moments(parameters: dict[str, Any], seconds: Mapping[str, int]) -> Generator[dict[str, Any]]:
    """Give the parameters of a request that is sent in the ``with`` block."""
    token = _sending.set(_Sending(seconds))
    try:
        yield _renewed(parameters, seconds)
    finally:
        _sending.reset(token)


def _renew(request: Any, **_: Any) -> None:
    sending = _sending.get()
    if sending and sending.began:  # the first request has been made just now
        request.data = json.dumps(_renewed(json.loads(request.data), sending.seconds)).encode()
    elif sending:
        sending.began = True


def _renewed(parameters: dict[str, Any], seconds: Mapping[str, int]) -> dict[str, Any]:
    values = parameters.get(_VALUES, {})
    now = int(time.time())
    moved = {name: {"N": str(now + seconds[name])} for name in values.keys() & seconds.keys()}
    return {**parameters, _VALUES: {**values, **moved}} if moved else parameters
