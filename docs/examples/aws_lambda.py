"""Functions for AWS Lambda, on Redis and on DynamoDB.

uv run --all-extras docs/examples/aws_lambda.py

Lambda imports the module once and calls the function many times, each time with
``asyncio.run``. Redis' client is made once. DynamoDB's belongs to one event loop, so each
call makes its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from agents import Agent, Runner, set_tracing_disabled
from aiobotocore.session import get_session
from local_model import choose_model
from local_servers import redis_url
from redis.asyncio import Redis

from openai_agents_session.dynamodb import DynamoDBSession
from openai_agents_session.redis import RedisSession

agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())
client = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
aws = get_session()


async def reply_from_redis(user: str, message: str) -> str:
    """Answer with a conversation in Redis."""
    session = RedisSession(user, client, ttl=3600)
    return str((await Runner.run(agent, message, session=session)).final_output)


async def reply_from_dynamodb(user: str, message: str) -> str:
    """Answer with a conversation in DynamoDB; its table is made when you deploy."""
    async with aws.create_client("dynamodb") as dynamodb:
        session = DynamoDBSession(user, dynamodb, os.environ["TABLE"], ttl_seconds=3600)
        return str((await Runner.run(agent, message, session=session)).final_output)


def handler(event: dict[str, Any], _: object) -> dict[str, str]:
    """What Lambda calls. The user is who the API's authorizer says is logged in."""
    user = event["requestContext"]["authorizer"]["principalId"]
    reply = reply_from_dynamodb if "TABLE" in os.environ else reply_from_redis
    return {"reply": asyncio.run(reply(user, event["body"]))}


if __name__ == "__main__":
    set_tracing_disabled(True)
    with redis_url() as url:
        client = Redis.from_url(url)
        for message in ("My name is Ada.", "What is my name?"):
            request = {"requestContext": {"authorizer": {"principalId": "ada"}}, "body": message}
            print(handler(request, None)["reply"])
        asyncio.run(RedisSession("ada", client).clear_session())
