"""Two messages to one conversation at once: the second waits, or is refused before it is heard."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from agents import SQLiteSession
from agents.extensions.memory import EncryptedSession
from redis.exceptions import RedisError

from openai_agents_session._errors import add_note
from openai_agents_session._session import BaseSession
from openai_agents_session._web import runs
from openai_agents_session._web.errors import BusyError
from tests.memory import MemoryConversation
from tests.memory_store import MemoryStore
from tests.web.agents import BusyAgent, answering
from tests.web.serving import events, noting, serving

if TYPE_CHECKING:
    from tests.web.conftest import ClientOf
    from tests.web.places import Place

TURN = ["user", "function_call", "function_call_output"]
RUN = [*TURN, "message"]
BUSY = {"status_code": 409, "detail": "Another message to this conversation is being answered."}
LOST = {"status_code": 503, "detail": "The run was interrupted, and not all of it was stored."}
PATIENT = {"lease_wait": 60}

each_route = pytest.mark.parametrize("route", ["chat", "chat/stream"])


def saying(client: httpx.AsyncClient, route: str, message: str) -> asyncio.Task[httpx.Response]:
    """Begin to send a message to the conversation "a"."""
    path = f"/agents/sessions/a/{route}"
    return asyncio.create_task(client.post(path, json={"message": message}))


def answered(response: httpx.Response) -> Any:
    """What either route answers at the end."""
    assert response.status_code == 200
    if response.headers["Content-Type"].startswith("text/event-stream"):
        return events(response.text)[-1][1]
    return response.json()


async def until_waiting(place: Place, user: str, count: int) -> None:
    """Wait until so many messages wait for the one that is being answered."""
    claim = conversation(place, user).claim("theOneThatLooks", 60)

    async def wait() -> None:
        while await claim.acquire(0) != count + 1:  # noqa: ASYNC110 - only the store knows
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 30)


def conversation(place: Place, user: str) -> Any:
    """The conversation "a" in its store."""
    return place.store.user(user).session("a")._conversation


async def is_busy(place: Place, user: str) -> bool:
    """Whether somebody holds the lease on the conversation "a"."""
    return await place.store.user(user).session("a").busy() is not None


async def said(place: Place, user: str) -> list[Any]:
    """What the user has said, as it is stored."""
    items: list[Any] = [*await place.store.user(user).session("a").get_items()]
    return [item["content"] for item in items if item.get("role") == "user"]


# -- Waiting -----------------------------------------------------------------------------------


@each_route
async def test_a_message_waits_for_the_one_before(
    client_of: ClientOf, place: Place, user: str, route: str
) -> None:
    """Both are answered, one after the other: no turn of one is in the other's."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, **PATIENT)
    first = saying(client, route, "one")
    await busy.working["one"].wait()

    second = saying(client, route, "two")
    await until_waiting(place, user, 1)
    assert busy.heard == ["one"]
    busy.go_on["one"].set()
    busy.go_on["two"].set()

    for number, sent in {"one": first, "two": second}.items():
        assert answered(await sent) == {"response": f"echo: {number}", "session_id": "a"}
    assert await place.stored(user, "a") == RUN * 2
    assert await said(place, user) == ["one", "two"]
    assert not await is_busy(place, user)


async def test_many_messages_at_once_are_whole_and_in_order(
    client_of: ClientOf, place: Place, user: str
) -> None:
    """On both routes, each sees all that was answered before."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, **PATIENT)
    names = [f"number {number}" for number in range(6)]
    for name in names:
        busy.go_on[name].set()

    sent = [saying(client, ("chat", "chat/stream")[at % 2], name) for at, name in enumerate(names)]
    for name, each in zip(names, sent, strict=True):
        assert answered(await each)["response"] == f"echo: {name}"

    assert await place.stored(user, "a") == RUN * 6
    assert await said(place, user) == busy.heard
    assert sorted(busy.heard) == names


async def test_conversations_do_not_wait_for_each_other(
    client_of: ClientOf, place: Place, user: str, stranger: str
) -> None:
    """Not those of one user, and not those of one name."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, lease_wait=0)
    first = saying(client, "chat", "one")
    await busy.working["one"].wait()

    for path, headers in (("b", {}), ("a", {"X-User": stranger})):
        message = f"{path} {headers}"
        busy.go_on[message].set()
        response = await client.post(
            f"/agents/sessions/{path}/chat", json={"message": message}, headers=headers
        )
        assert answered(response)["response"] == f"echo: {message}"

    assert not first.done()
    busy.go_on["one"].set()
    assert answered(await first)["response"] == "echo: one"


# -- Refusals ----------------------------------------------------------------------------------


@each_route
async def test_a_message_that_waited_in_vain_is_refused(
    *,
    client_of: ClientOf,
    place: Place,
    user: str,
    caplog: pytest.LogCaptureFixture,
    route: str,
) -> None:
    """The status says so, and when to try again, before a stream begins; nothing was heard."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, lease_wait=0.01)
    first = saying(client, route, "one")
    await busy.working["one"].wait()

    for other in ("chat", "chat/stream"):
        refused = await saying(client, other, "two")
        assert refused.json() == BUSY
        assert refused.status_code == 409
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Cache-Control"] == "no-store"
        assert refused.headers["Content-Type"] == "application/json"
    busy.go_on["one"].set()

    assert answered(await first)["response"] == "echo: one"
    assert busy.heard == ["one"]
    assert await place.stored(user, "a") == RUN
    busy.go_on["two"].set()
    assert answered(await saying(client, route, "two"))["response"] == "echo: two"
    assert await place.stored(user, "a") == RUN * 2
    assert not [each for each in caplog.records if each.name == "openai_agents_session"]


def test_an_approval_has_nothing_to_wait_for() -> None:
    """The other 409 has no ``Retry-After``: another attempt would change nothing."""
    assert runs.ApprovalNeededError.status_code == BusyError.status_code
    assert not runs.ApprovalNeededError.headers
    assert BusyError.headers == {"Retry-After": "1"}


@each_route
async def test_without_a_wait_runs_go_side_by_side(
    client_of: ClientOf, place: Place, user: str, route: str
) -> None:
    """With None no lease is taken, and nobody is held back."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, lease_wait=None)
    first = saying(client, route, "one")
    await busy.working["one"].wait()
    assert not await is_busy(place, user)

    busy.go_on["two"].set()
    assert answered(await saying(client, route, "two"))["response"] == "echo: two"
    assert not first.done()

    busy.go_on["one"].set()
    await first


@each_route
async def test_a_message_waits_for_two_seconds(
    client_of: ClientOf, memory: Place, user: str, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """Where nothing else is said."""
    lease, waits = BaseSession.lease, []

    def noted(session: BaseSession, wait: float) -> Any:
        waits.append(wait)
        return lease(session, wait)

    monkeypatch.setattr(BaseSession, "lease", noted)
    client = await client_of(answering("Yes."), memory, user)

    assert answered(await saying(client, route, "one"))["response"] == "Yes."
    assert waits == [2]


@pytest.mark.parametrize(
    ("wait", "error"),
    [("2", TypeError), (True, TypeError), (-1, ValueError), (math.nan, ValueError)],
)
def test_a_wait_is_a_number_of_seconds(make_app: Any, wait: Any, error: type[Exception]) -> None:
    """Anything else is refused at construction."""
    with pytest.raises(error, match="lease_wait must be"):
        make_app(answering(), MemoryStore(), lease_wait=wait)


# -- What else is done to a conversation meanwhile ---------------------------------------------


async def test_other_routes_do_not_wait(client_of: ClientOf, place: Place, user: str) -> None:
    """A run that is under way can be read, renamed, forked and deleted."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user, lease_wait=0)
    first = saying(client, "chat", "one")
    await busy.working["one"].wait()
    path = "/agents/sessions/a"

    renamed = await client.patch(path, json={"session_name": "New"})
    assert renamed.json()["session_name"] == "New"
    messages = (await client.get(f"{path}/messages")).json()
    assert [message["content"] for message in messages] == ["one"]
    forked = await client.post(f"{path}/fork", json={"session_id": "b"})
    assert forked.status_code == 201
    assert await place.stored(user, "b") == ["user"]
    busy.go_on["two"].set()
    again = await client.post("/agents/sessions/b/chat", json={"message": "two"})
    assert answered(again)["response"] == "echo: two"
    assert (await client.delete(path)).status_code == 204
    assert (await saying(client, "chat", "three")).status_code == 409

    busy.go_on["one"].set()
    assert (await first).status_code == 404
    assert await place.stored(user, "a") == []
    assert await place.stored(user, "b") == ["user", *RUN]


# -- The end of a lease ------------------------------------------------------------------------


async def test_the_lease_is_free_when_the_client_hears_of_the_end(place: Place, user: str) -> None:
    """So whoever sends the next message at once is not refused."""
    session = place.store.user(user).session("a")
    agent = answering("One.", "Two.")

    stream = await runs.begin(agent, "Hi", session, {}, lambda event: event, lease_wait=0)
    told = []
    async for event in stream:
        told.append(event.name)
        if event.name == "done":
            assert await session.busy() is None
    assert told[-1] == "done"
    assert await runs.answer(agent, "Hi", session, {}, lease_wait=0) == "Two."
    assert await session.busy() is None


async def test_a_run_that_does_not_begin_holds_nothing(memory: Place, user: str) -> None:
    """Options that no run takes are told as a failure, on a conversation that is free."""
    session = memory.store.user(user).session("a")
    options = {"nonsense": 1}

    stream = await runs.begin(
        answering("Hi"), "Hi", session, options, lambda event: event, lease_wait=0
    )
    assert await session.busy() is None
    assert [event.name async for event in stream] == ["error"]
    with pytest.raises(runs.WebError):
        await runs.answer(answering("Hi"), "Hi", session, options, lease_wait=0)
    assert await session.busy() is None


@each_route
async def test_whoever_went_away_holds_the_lease_as_long_as_the_run(
    make_app: Any, place: Place, user: str, route: str
) -> None:
    """The turn under way is carried to its end; the next message waits for that, and no longer."""
    busy = BusyAgent()
    async with serving(make_app(busy.agent, place.source, **PATIENT), user) as client:
        first = asyncio.create_task(stay_a_moment(client, route, busy))
        await first  # its connection is closed
        assert await is_busy(place, user)
        second = saying(client, "chat", "two")
        await until_waiting(place, user, 1)
        busy.go_on["two"].set()
        busy.go_on["one"].set()
        assert answered(await second)["response"] == "echo: two"

    assert await place.stored(user, "a") == [*(TURN if "stream" in route else RUN), *RUN]
    assert not await is_busy(place, user)


async def stay_a_moment(client: httpx.AsyncClient, route: str, busy: BusyAgent) -> None:
    """Send a message, and close the connection while it is being answered."""
    sent = saying(client, route, "one")
    await busy.working["one"].wait()
    sent.cancel()
    await asyncio.wait({sent})


@each_route
async def test_whoever_is_cancelled_while_it_waits_has_said_nothing(
    place: Place, user: str, route: str
) -> None:
    """As at a shutdown: its place in the queue is free, and the message was not heard."""
    session = place.store.user(user).session("a")
    busy = BusyAgent()
    async with session.lease():
        asking = asyncio.create_task(
            runs.answer(busy.agent, "one", session, {}, lease_wait=60)
            if route == "chat"
            else runs.begin(busy.agent, "one", session, {}, lambda event: event, lease_wait=60)
        )
        await until_waiting(place, user, 1)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        await until_waiting(place, user, 0)

    assert busy.heard == []
    assert await session.get_items() == []
    assert not runs._running


@each_route
async def test_a_shutdown_frees_the_lease(
    make_app: Any, place: Place, user: str, route: str
) -> None:
    """A run that the server does not wait for is stored, and then nobody holds the conversation."""
    busy = BusyAgent()
    app = noting(make_app(busy.agent, place.source), busy.go_on["one"])

    async with serving(app, user, timeout_graceful_shutdown=0) as client:
        asking = saying(client, route, "one")
        await busy.working["one"].wait()
        assert await is_busy(place, user)
    with pytest.raises(httpx.HTTPError):
        await asking

    assert not await is_busy(place, user)
    assert (await place.stored(user, "a"))[:3] == TURN


# -- Leases that are lost, stores that fail ----------------------------------------------------


@each_route
async def test_a_run_that_lost_its_lease_says_so(
    *,
    client_of: ClientOf,
    memory: Place,
    user: str,
    caplog: pytest.LogCaptureFixture,
    route: str,
) -> None:
    """It writes no more, and is no 409: part of it is stored. The log tells the operator."""
    busy = BusyAgent()
    client = await client_of(busy.agent, memory, user, lease_wait=0)
    sent = saying(client, route, "one")
    await busy.working["one"].wait()
    await conversation_taken_over(memory, user)
    busy.go_on["one"].set()

    response = await sent

    if route == "chat":
        assert (response.status_code, response.json()) == (503, LOST)
    else:
        assert (response.status_code, events(response.text)[-1]) == (200, ("error", LOST))
    assert "Retry-After" not in response.headers
    assert await memory.stored(user, "a") == ["user"]
    assert "session 'a' failed: openai_agents_session._lease.LeaseLostError" in caplog.text
    assert (await saying(client, route, "two")).status_code == 409


async def conversation_taken_over(place: Place, user: str) -> None:
    """Let the lease run out, and somebody else take it."""
    store: Any = place.store
    store.catalog.leases[user, "a"].until = 0.0
    assert await conversation(place, user).claim("another", 60).acquire(0) == 0


@each_route
async def test_a_user_who_is_erased_during_a_run_stays_erased(
    client_of: ClientOf, place: Place, user: str, route: str
) -> None:
    """The lease is gone with all else, so the run writes no more; the next one begins anew."""
    busy = BusyAgent()
    client = await client_of(busy.agent, place, user)
    sent = saying(client, route, "one")
    await busy.working["one"].wait()
    assert (await place.store.user(user).erase()).conversations == 1
    busy.go_on["one"].set()

    response = await sent

    assert (response.json() if route == "chat" else events(response.text)[-1][1]) == LOST
    assert await place.stored(user, "a") == []
    busy.go_on["two"].set()
    assert answered(await saying(client, route, "two"))["response"] == "echo: two"
    assert await place.stored(user, "a") == RUN


@each_route
async def test_a_store_that_is_away_is_told_before_a_stream_begins(
    *,
    client_of: ClientOf,
    memory: Place,
    user: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    route: str,
) -> None:
    """The lease is the first that a run asks of it. Our own notes on its error are logged."""

    def fail(*_: Any) -> Any:
        error = RedisError("my own words")
        add_note(error, "Ask for help.")
        raise error

    monkeypatch.setattr(MemoryConversation, "claim", fail)
    client = await client_of(answering("never said"), memory, user)

    response = await saying(client, route, "one")

    sentence = "The conversation is not available right now."
    assert response.json() == {"status_code": 503, "detail": sentence}
    assert response.status_code == 503
    [told] = [each for each in caplog.records if each.name == "openai_agents_session"]
    what = "Taking the lease on session 'a' failed"
    assert told.getMessage() == f"{what}: redis.exceptions.RedisError: Ask for help."
    assert "my own words" not in caplog.text


# -- Sessions of others ------------------------------------------------------------------------


async def heard(session: Any) -> None:
    """Answer on either route, and assert that a run was made."""
    agent = answering("One.", "Two.")
    assert await runs.answer(agent, "Hi", session, {}, lease_wait=0) == "One."
    stream = await runs.begin(agent, "Hi", session, {}, lambda event: event, lease_wait=0)
    names = [event.name async for event in stream]
    assert names[-1] == "done"


async def test_a_session_without_leases_is_as_good() -> None:
    """One of the SDK's has none, and its runs go as they come."""
    session = SQLiteSession("a")
    await heard(session)
    assert len(await session.get_items()) == 4
    session.close()


async def test_what_is_put_around_a_session_stays_around_it(memory: Place, user: str) -> None:
    """What passes on our session's lease would lose its own part: here, what encrypts."""
    inner = memory.store.user(user).session("a")
    session = EncryptedSession("a", inner, "key")
    assert session.lease  # which it passes on
    await heard(session)

    items = await inner.get_items()
    assert len(items) == 4
    assert all("payload" in item for item in items)
    assert len(await session.get_items()) == 4
