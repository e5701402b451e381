"""Values of a request that are moments, counted from when it is sent.

A request may be sent again long after it was made. Where this library does that, it makes
the values anew. botocore does it by itself as well, and tells its handlers of every request
that it makes, before it signs it (boto3's documentation, "Event system"; botocore,
``Endpoint.create_request``).
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aiobotocore.client import AioBaseClient

_EVENT = "request-created.dynamodb.UpdateItem"
_VALUES = "ExpressionAttributeValues"

_sending: ContextVar[_Sending] = ContextVar("_sending")


@dataclass
class _Sending:
    seconds: Mapping[str, int]
    began: bool = False


def follow(client: AioBaseClient) -> None:
    """Keep moments right in what a client sends again; once or more often for each client."""
    client.meta.events.register_first(_EVENT, _renew, unique_id=__name__)


@contextmanager
def moments(parameters: dict[str, Any], seconds: Mapping[str, int]) -> Generator[dict[str, Any]]:
    """Give the parameters of a request that is sent in the ``with`` block.

    Args:
        parameters: the request's.
        seconds: for names of its values: how many seconds after it is sent each is.
    """
    token = _sending.set(_Sending(seconds))
    try:
        yield _renewed(parameters, seconds)
    finally:
        _sending.reset(token)


def _renew(request: Any, **_: Any) -> None:
    sending = _sending.get(None)
    if sending and sending.began:  # the first request has been made just now
        request.data = json.dumps(_renewed(json.loads(request.data), sending.seconds)).encode()
    elif sending:
        sending.began = True


def _renewed(parameters: dict[str, Any], seconds: Mapping[str, int]) -> dict[str, Any]:
    values = parameters.get(_VALUES, {})
    now = int(time.time())
    moved = {name: {"N": str(now + seconds[name])} for name in values.keys() & seconds.keys()}
    return {**parameters, _VALUES: {**values, **moved}} if moved else parameters
