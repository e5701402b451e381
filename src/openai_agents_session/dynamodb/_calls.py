"""Calls to one DynamoDB table: sent again while their answer is lost, errors explained.

This module knows aiobotocore and nothing of conversations.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from openai_agents_session._pauses import RETRY_SECONDS, Pauses
from openai_agents_session._settle import is_carried
from openai_agents_session.dynamodb._client import check_entered, check_home, checked_client
from openai_agents_session.dynamodb._errors import (
    CONDITION,
    code_of,
    explain,
    passes,
    was_refused,
    was_resent,
)
from openai_agents_session.dynamodb._moments import follow, moments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.client import AioBaseClient

PATIENCE_SECONDS = 600.0
"""How long one operation goes on against other writers at most."""

MAX_FRUITLESS = 10
"""How many batches of which DynamoDB processes nothing pass for throttling; as often as
botocore tries a single call (botocore, ``data/_retry.json``)."""

FAILED = (BotoCoreError, ClientError, asyncio.TimeoutError)
"""What a call may raise where the store is away, or refuses it."""

_LOST = (ConnectionError, HTTPClientError, asyncio.TimeoutError)


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
        self.resent = resent or was_resent(error)
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
        self.client: Any = checked_client(client)
        if not isinstance(name, str):
            raise TypeError(f"table_name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("table_name must not be empty")
        self.name = name
        follow(self.client)

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
        return await self._sent(operation, seconds or {}, TableName=self.name, **parameters)

    async def answers(self, operation: str, **parameters: Any) -> bool:
        """Return whether the store answers to an operation, and not with an error."""
        try:
            await self.call(operation, **parameters)
        except (ConnectionError, HTTPClientError):
            return False
        return True

    async def read_batch(self, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the items of these keys, as of now, in any order; 100 keys at most."""
        request = {"Keys": keys, "ConsistentRead": True}
        items = []
        async for answer in self._batches("batch_get_item", request, "UnprocessedKeys"):
            for found in answer["Responses"].values():
                items += found
        return items

    async def write_batch(self, requests: list[dict[str, Any]]) -> None:
        """Put and delete items, each for itself; 25 and 16 MB at most."""
        async for _ in self._batches("batch_write_item", requests, "UnprocessedItems"):
            pass

    async def _batches(
        self, operation: str, request: Any, unprocessed: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Call a batch operation until nothing of the request is left."""
        fruitless = 0
        pauses = Pauses(0.05, 2.0)
        while True:
            answer = await self._sent(operation, {}, RequestItems={self.name: request})
            yield answer
            if not answer.get(unprocessed):
                return
            before, request = request, next(iter(answer[unprocessed].values()))
            fruitless = fruitless + 1 if request == before else 0
            if fruitless == MAX_FRUITLESS:
                raise self.client.exceptions.ProvisionedThroughputExceededException(
                    {
                        "Error": {
                            "Code": "ProvisionedThroughputExceededException",
                            "Message": f"nothing of {fruitless} batches in a row was done",
                        }
                    },
                    operation,
                )
            if fruitless:  # it is throttled; otherwise the answer had no room for more
                await pauses.wait()

    async def _sent(
        self, operation: str, seconds: Mapping[str, int], **parameters: Any
    ) -> dict[str, Any]:
        pauses = Pauses(0.02, 0.4)
        end = 0.0
        lost = False  # whether an earlier request may have been done
        while True:
            await pauses.wait()
            check_home(self.client)
            try:
                with moments(parameters, seconds) as request:
                    return await getattr(self.client, operation)(**request)
            except ClientError as exc:
                if code_of(exc) == CONDITION:
                    raise ConditionFailedError(exc, resent=lost) from exc
                explain(exc, self.name)
                if not passes(exc):
                    raise
                lost = lost or not was_refused(exc)
                error: BaseException = exc
            except _LOST as exc:
                if isinstance(exc, HTTPClientError):
                    check_entered(exc)
                error, lost = exc, True
            except asyncio.CancelledError as exc:
                if not is_carried():
                    raise
                error, lost = exc, True
            end = end or pauses.elapsed + RETRY_SECONDS
            if pauses.elapsed > end:
                raise error
