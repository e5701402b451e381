"""Each method of a DynamoDBSession, without an agent.

uv run --all-extras docs/examples/dynamodb_basics.py
"""

from __future__ import annotations

import asyncio

from aiobotocore.session import get_session
from local_servers import dynamodb_options, dynamodb_url

from openai_agents_session.dynamodb import DynamoDBSession, create_table_if_not_exists

TABLE = "agent_sessions"


async def main(url: str) -> None:
    """Write, read, take back, replace and forget a conversation."""
    async with get_session().create_client("dynamodb", **dynamodb_options(url)) as client:
        await create_table_if_not_exists(client, TABLE)
        session = DynamoDBSession("basics-demo", client, TABLE, ttl_seconds=3600)
        await session.clear_session()

        # A batch is written whole or not at all, and exactly once.
        await session.add_items([{"role": "user", "content": "one"}])
        await session.add_items(
            [
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ]
        )
        print("all:      ", [item.get("content") for item in await session.get_items()])
        print("newest 2: ", [item.get("content") for item in await session.get_items(limit=2)])

        popped = await session.pop_item()  # the newest, and no other caller gets it
        print("popped:   ", popped and popped.get("content"))

        # What is stored is one item of the table.
        key = {"session_id": {"S": "basics-demo"}}
        item = (await client.get_item(TableName=TABLE, Key=key))["Item"]
        print("stored:   ", item["items"])

        # The whole history is swapped in one step: no reader sees it half done.
        await session.replace_items([{"role": "user", "content": "a summary"}])
        print("replaced: ", [item.get("content") for item in await session.get_items()])

        # Any size will do: what does not fit into the item moves to pages beside it.
        await session.add_items([{"role": "user", "content": "x" * 5_000_000}])
        newest = (await session.get_items(limit=1))[0]
        print("large:    ", len(str(newest.get("content"))), "characters")

        await session.clear_session()
        print("cleared:  ", await session.get_items(), "- popped:", await session.pop_item())


if __name__ == "__main__":
    with dynamodb_url() as url:
        asyncio.run(main(url))
