"""Leases in Redis: their keys, how long these live, event loops, and a cluster that moves them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from openai_agents_session import RedisSession, RedisStore
from openai_agents_session._conversation import LostError
from openai_agents_session.redis._keys import UserKeys
from tests.contract.leasing import LIFE, WRITES, write
from tests.redis.stores import all_keys, assert_agreement
from tests.redis.test_resharding import Slot, slot
from tests.servers import eventually, sweep

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster as ClusterClient

    from tests.servers import Endpoint

__all__ = ["slot"]

ITEMS: list[Any] = [{"role": "user", "content": "Hi"}]


def claim_of(session: Any, holder: str, seconds: int = LIFE) -> Any:
    """Return what a holder asks of the lease on a session."""
    return session._conversation.claim(holder, seconds)


async def test_a_held_session_leaves_the_client_open(
    redis_server: Endpoint, key_prefix: str
) -> None:
    """It has opened none: the session whose lease it is closes its own."""
    async with RedisSession.from_url("s", redis_server.url, key_prefix=key_prefix) as session:
        async with session.lease(0, LIFE) as held:
            await held.add_items(ITEMS)
            await held.close()
            assert await held.get_items() == ITEMS
        assert await session.get_items() == ITEMS
        await session.clear_session()


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("user_id", [None, "ada"])
async def test_the_keys_of_a_lease(
    redis_client: Redis, key_prefix: str, user_id: str | None
) -> None:
    """One while it is held, two more while somebody waits, and a token of each for a while."""
    store: Any = RedisStore(redis_client, key_prefix=key_prefix)
    session = (store if user_id is None else store.user(user_id)).session("s")
    if user_id is None:
        stem = f"{{{key_prefix}:s}}~"
        names = [f"{stem}{name}~{key_prefix}:s" for name in ("lease", "queue", "due")]
    else:
        stem = UserKeys(key_prefix, user_id).new_token().decode()[:7]
        names = [f"{key_prefix}@{{ada}}{sign}s" for sign in "!+="]
    lease, queue, due = (name.encode() for name in names)
    tokens_before = {*await all_keys(redis_client, f"{stem}*".encode())}

    async def found() -> set[bytes]:
        keys = [f"{key_prefix}*", f"{stem}*"]
        every = [each for key in keys for each in await all_keys(redis_client, key.encode())]
        return {*every} - tokens_before

    assert await claim_of(session, "one").acquire(0) == 0
    held = await found()
    (token,) = held - {lease}
    assert token.startswith(stem.encode())
    assert b"one" not in token
    assert len(token) == len(stem) + 20
    assert await redis_client.get(lease) == b"one"
    assert 0 < await redis_client.pttl(lease) <= 1000 * LIFE
    assert 0 < await redis_client.ttl(token) <= 180

    assert await claim_of(session, "two").acquire(40) == 1
    assert await claim_of(session, "three").acquire(50) == 2
    assert await claim_of(session, "four").acquire(0) == 3  # waits for nothing
    assert await found() == {*held, queue, due}
    assert await redis_client.zrange(queue, 0, -1) == [b"two", b"three"]
    assert 49_000 < await redis_client.pttl(queue) <= 50_000
    ends = [await redis_client.execute_command("PEXPIRETIME", key) for key in (queue, due)]
    assert ends[0] == ends[1]

    for name in ("one", "two", "three", "four"):
        await claim_of(session, name).release()
    left = await found()
    assert len(left) == 4
    assert token in left
    for key in left:
        assert key.startswith(stem.encode())
        assert 0 < await redis_client.ttl(key) <= 180
        assert await redis_client.strlen(key) == 0


async def test_a_queue_of_processes_that_died_goes_by_itself(
    redis_client: Redis, key_prefix: str
) -> None:
    """Nobody has to ask for that."""
    session: Any = RedisSession("s", redis_client, key_prefix)
    keys = session._conversation._lease_keys()
    assert await claim_of(session, "one").acquire(0) == 0
    assert await claim_of(session, "two").acquire(0.05) == 1

    async def is_gone() -> bool:
        return await redis_client.exists(keys.queue, keys.due) == 0

    await eventually(is_gone)
    assert await session.busy()


async def test_conversations_with_one_hash_tag_have_leases_of_their_own(
    redis_client: Redis, key_prefix: str
) -> None:
    """Even if one holder's name were used for both."""
    sessions = [RedisSession(each, redis_client, f"{{{key_prefix}}}") for each in "ab"]
    claims = [claim_of(session, "one") for session in sessions]
    for claim in claims:
        assert await claim.acquire(0) == 0
    await claims[0].release()
    assert await sessions[0].busy() is None
    assert await sessions[1].busy()
    assert await claims[1].renew()
    await claims[1].fenced().append([b'{"role":"user","content":"Hi"}'])
    assert await sessions[1].get_items() == ITEMS


async def test_no_id_reaches_the_lease_of_another(redis_client: Redis, key_prefix: str) -> None:
    """Whatever looks like the keys of a lease, in an id or in a user."""
    store: Any = RedisStore(redis_client, key_prefix=key_prefix)
    places = [(None, "s"), ("ada", "s"), ("ada", "!s"), ("ada", "+s"), ("ada", "s!"), ("ada!", "s")]
    places += [("ada}!s", "s"), ("ada", "}!s"), (None, "lease~s"), (None, "{s}~lease~s")]
    sessions = [(store if u is None else store.user(u)).session(s) for u, s in places]
    for number, session in enumerate(sessions):
        assert await session.busy() is None
        assert await claim_of(session, f"holder{number}").acquire(0) == 0
        await session.add_items(ITEMS)
    for number, session in enumerate(sessions):
        claim = claim_of(session, f"holder{number}")
        await claim.fenced().append([b'{"role":"user","content":"Hi"}'])
        await claim.release()
        assert await session.busy() is None
        assert await session.get_items() == ITEMS * 2
    assert len([each async for each in store]) == len(places)


async def test_a_conversation_that_was_seen_before_is_not_begun_anew_with_a_lease(
    redis_client: Redis, key_prefix: str
) -> None:
    """What one lease has seen of it, the next one and the session itself know."""
    view = RedisStore(redis_client, key_prefix=key_prefix).user("ada")
    session = view.session("s", recreate=False)
    async with session.lease(0, LIFE) as held:
        await held.add_items(ITEMS)
    assert await view.delete("s")
    with pytest.raises(LookupError):
        await session.add_items(ITEMS)
    async with session.lease(0, LIFE) as held:
        with pytest.raises(LookupError):
            await held.add_items(ITEMS)
    assert await view.get("s") is None


async def test_a_user_s_index_follows_what_is_written_with_a_lease(
    redis_client: Redis, key_prefix: str
) -> None:
    """Each write lists the conversation anew, in the same step; one that was lost does not."""
    view = RedisStore(redis_client, key_prefix=key_prefix, ttl=1000).user("ada")
    session = view.session("s", name="S")
    claim, late = claim_of(session, "one"), claim_of(session, "two")
    assert await claim.acquire(0) == 0
    infos: list[Any] = []
    for name in WRITES:
        await claim.fenced().replace([b'{"role":"user","content":"Hi"}'] * 3)
        await write(claim.fenced(), name, await claim.fenced().read(None))
        infos.append(await view.get("s"))
        assert infos[-1].name == "S"
        assert infos[-1].item_count == len(await session.get_items())
        await assert_agreement(redis_client, key_prefix)
    times = [info.updated_at for info in infos]
    assert times == sorted({*times})
    await claim.release()
    assert await late.acquire(0) == 0
    for name in WRITES:
        with pytest.raises(LostError):
            await write(claim.fenced(), name, await claim.fenced().read(None))
    assert await view.get("s") == infos[-1]
    await assert_agreement(redis_client, key_prefix)


# --- event loops -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_given", [False, True], ids=["from_url", "given"])
def test_a_lease_in_every_event_loop(
    redis_server: Endpoint, key_prefix: str, is_given: bool
) -> None:
    """Each takes its turn on one session; one that ends with its loop is free for the next."""
    url = redis_server.url
    if is_given:
        session = RedisSession("s", Redis.from_url(url), key_prefix, ttl=600)
    else:
        session = RedisSession.from_url("s", url, key_prefix=key_prefix, ttl=600)

    async def turn() -> None:
        async with session.lease(0) as held:
            await held.add_items(ITEMS)

    async def abandoned() -> None:
        async def hold() -> None:
            async with session.lease(0) as held:
                await held.add_items(ITEMS)
                entered.set()
                await asyncio.Event().wait()

        entered = asyncio.Event()
        holding = asyncio.create_task(hold())
        await entered.wait()
        assert not holding.done()  # asyncio.run cancels it

    for number in range(1, 11):
        asyncio.run(abandoned() if number % 2 else turn())
        assert asyncio.run(session.busy()) is None
        assert asyncio.run(session.get_items()) == ITEMS * number
    sweep(redis_server, key_prefix)


# --- a cluster ---------------------------------------------------------------------------------


async def test_a_lease_moves_with_its_slot(cluster_client: ClusterClient, slot: Slot) -> None:
    """It is held, fences and is waited for, wherever its keys are."""
    slot.fill(200)
    session = RedisSession(f"{{{slot.tag}}}", cluster_client, slot.tag, 600)
    one, two, three = (claim_of(session, name) for name in ("one", "two", "three"))
    assert await one.acquire(0) == 0
    assert await two.acquire(600) == 1
    moving = asyncio.ensure_future(asyncio.to_thread(slot.move, slot.home, slot.other))

    writes = 0
    while not moving.done() or not writes:
        await one.fenced().append([b'{"role":"user","content":"Hi"}'])
        assert await one.renew()
        assert await three.acquire(600) == 2
        assert await session.busy()
        writes += 1
    await moving
    assert await two.acquire(600) == 1
    await one.release()
    assert await three.acquire(600) == 2
    assert await two.acquire(600) == 0
    with pytest.raises(LostError):
        await one.fenced().append([b'{"role":"user","content":"late"}'])
    assert await session.get_items() == ITEMS * writes
