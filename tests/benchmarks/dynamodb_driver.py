"""One way to keep a conversation in DynamoDB, in a process of its own, told what to do by lines.

``python -m tests.benchmarks.dynamodb_driver URL TABLE library|single`` reads a command a line
and answers each with what it took. "library" is whatever ``openai_agents_session`` the
interpreter has: this one, or a release in an environment of its own. So all contenders are
measured by this code, which asks nothing of the rest of the tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REGION = "eu-central-1"
TTL_SECONDS = 3600
TURN_BYTES = 2048
ITEMS_PER_TURN = 4
READS = {"GetItem", "BatchGetItem"}


def turn(number: int) -> list[Any]:
    """A turn with a tool call, of four items that take 2,048 bytes of a DynamoDB list.

    Only ASCII, which ``json.dumps`` leaves as it is: 0.1.0 stores other text larger.
    """
    call_id = f"call_{number:024d}"
    answer = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    items = [
        {"role": "user", "content": "Will it rain tomorrow, and where would it be dry? " * 6},
        {
            "type": "function_call",
            "id": f"fc_{number:048d}",
            "call_id": call_id,
            "name": "get_weather",
            "arguments": '{"city":"Zurich","day":"tomorrow","unit":"celsius"}',
            "status": "completed",
        },
        {
            "type": "function_call_output",
            "call_id": call_id,
            "output": '{"high":19,"low":14,"rain":0.7,"wind":"W","text":"showers"}',
        },
        {
            "type": "message",
            "id": f"msg_{number:048d}",
            "role": "assistant",
            "status": "completed",
            "content": [answer],
        },
    ]
    # Each element of a list takes one byte more than its text.
    taken = sum(len(json.dumps(item, separators=(",", ":"))) + 1 for item in items)
    text = "Tomorrow expects scattered showers from noon on, with a light wind from the west. "
    answer["text"] = (text * 30)[: TURN_BYTES - taken]
    return items


class SingleItem:
    """What one writes without a library: one item, one list, one ``list_append`` a turn."""

    def __init__(self, session_id: str, client: Any, table: str, **_: object) -> None:
        self._client = client
        self._where = {"TableName": table, "Key": {"session_id": {"S": session_id}}}

    async def add_items(self, items: list[Any]) -> None:
        await self._client.update_item(
            **self._where,
            UpdateExpression="SET #items = list_append(if_not_exists(#items, :none), :new)",
            ExpressionAttributeNames={"#items": "items"},
            ExpressionAttributeValues={
                ":none": {"L": []},
                ":new": {"L": [{"S": json.dumps(item, separators=(",", ":"))} for item in items]},
            },
        )

    async def get_items(self, limit: int | None = None) -> list[Any]:
        answer = await self._client.get_item(**self._where, ConsistentRead=True)
        texts = answer.get("Item", {}).get("items", {"L": []})["L"]
        return [json.loads(text["S"]) for text in texts[-(limit or 0) :]]


class Meter:
    """Lets every request of a client report what it consumed, and adds it up.

    A refused conditional write consumes the write units of the item that is there (AWS
    documentation, "Read and write operations"); no emulator reports them. So they are asked
    for, by an update that changes nothing, of a client that is not metered.
    """

    def __init__(self, client: Any, aside: Any) -> None:
        self._aside = aside
        self._sent: dict[str, Any] = {}
        self.reset()
        events = client.meta.events
        events.register("before-parameter-build.dynamodb", self._ask)
        events.register("request-created.dynamodb", self._count)
        events.register("after-call.dynamodb", self._add)

    def reset(self) -> None:
        """Begin at nothing."""
        self.read = self.write = 0.0
        self.refused = 0.0
        self.requests: list[str] = []

    def bill(self) -> dict[str, Any]:
        """What was consumed since; ``refused`` is the part of ``write`` that did nothing."""
        return {
            "read": self.read,
            "write": self.write,
            "refused": self.refused,
            "requests": self.requests,
        }

    def _ask(self, params: dict[str, Any], **_: object) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"
        self._sent = params

    def _count(self, operation_name: str, **_: object) -> None:
        self.requests.append(operation_name)

    async def _add(self, parsed: dict[str, Any], model: Any, **_: object) -> None:
        if parsed.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
            units = await self._units_of(self._sent["TableName"], self._sent["Key"])
            self.refused += units
        elif "Error" in parsed:
            return
        else:
            units = _units(parsed)
        if model.name in READS:
            self.read += units
        else:
            self.write += units

    async def _units_of(self, table: str, key: dict[str, Any]) -> float:
        answer = await self._aside.update_item(
            TableName=table,
            Key=key,
            ConditionExpression="attribute_exists(session_id)",
            ReturnConsumedCapacity="TOTAL",
        )
        return _units(answer)


def _units(answer: dict[str, Any]) -> float:
    consumed = answer["ConsumedCapacity"]
    each = consumed if isinstance(consumed, list) else [consumed]
    return sum(one["CapacityUnits"] for one in each)


class Driver:
    """Does what a command says to one session object after the other."""

    def __init__(self, make: Callable[..., Any], client: Any, table: str, meter: Meter) -> None:
        self._make, self._client, self._table, self._meter = make, client, table, meter
        self._session: Any = None

    def open(self, session_id: str, options: dict[str, Any]) -> dict[str, Any]:
        """Make a session object, which has read nothing yet."""
        self._session = self._make(
            session_id, self._client, self._table, **{"ttl_seconds": TTL_SECONDS, **options}
        )
        return {}

    async def add(self, start: int, turns: int) -> dict[str, Any]:
        """Append so many turns as one batch."""
        items = [item for number in range(start, start + turns) for item in turn(number)]
        return await self._billed(lambda: self._session.add_items(items))

    async def get(self, limit: int | None) -> dict[str, Any]:
        """Read the newest items, or all."""
        return await self._billed(lambda: self._session.get_items(limit))

    async def _billed(self, call: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        self._meter.reset()
        start = perf_counter()
        try:
            result = await call()
        except ClientError as error:
            return {"error": str(error), **self._meter.bill()}
        seconds = perf_counter() - start
        items = len(result) if result is not None else None
        return {"seconds": seconds, "items": items, **self._meter.bill()}


async def main(url: str, table: str, layout: str) -> None:
    """Answer commands until there are no more."""
    if layout == "single":
        make: Any = SingleItem
    else:
        from openai_agents_session import DynamoDBSession as make  # noqa: PLC0415, N813 - one contender of two
    options = {
        "region_name": REGION,
        "endpoint_url": url,
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    create = get_session().create_client
    async with create("dynamodb", **options) as client, create("dynamodb", **options) as aside:
        driver = Driver(make, client, table, Meter(client, aside))
        for line in sys.stdin:  # nothing else goes on in this process meanwhile
            name, *arguments = json.loads(line)
            answer = getattr(driver, name)(*arguments)
            print(json.dumps(await answer if name != "open" else answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
