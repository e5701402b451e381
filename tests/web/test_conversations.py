"""The routes: what they take and give, and whose conversations they see."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from agents import Agent
from agents.testing import ScriptedModel, assistant_message
from pydantic import BaseModel

from tests.web.agents import answering, last_input, looking_up
from tests.web.conftest import ROUTES

if TYPE_CHECKING:
    from tests.web.conftest import ClientOf
    from tests.web.places import Place

NOT_FOUND = {"status_code": 404, "detail": "There is no such conversation."}


async def test_a_conversation_goes_on(client_of: ClientOf, place: Place, user: str) -> None:
    """The second message is answered with the first one in mind, and both are stored."""
    agent = answering("Hello Ada.", "You are Ada.")
    client = await client_of(agent, place, user)

    first = await client.post("/agents/sessions/a/chat", json={"message": "I am Ada."})
    second = await client.post("/agents/sessions/a/chat", json={"message": "Who am I?"})

    assert first.status_code == second.status_code == 200
    assert first.json() == {"response": "Hello Ada.", "session_id": "a"}
    assert second.json() == {"response": "You are Ada.", "session_id": "a"}
    given = last_input(agent)
    assert [item["content"] for item in given[::2]] == ["I am Ada.", "Who am I?"]
    assert await place.stored(user, "a") == ["user", "message"] * 2
    found = await place.store.user(user).get("a")
    assert found is not None
    assert found.agent_name == "Assistant"


async def test_an_output_type_is_answered_as_json(
    client_of: ClientOf, memory: Place, user: str
) -> None:
    """An agent whose output is a model answers with its fields."""

    class Weather(BaseModel):
        city: str
        degrees: int

    model = ScriptedModel([[assistant_message('{"city": "Paris", "degrees": 21}')]])
    client = await client_of(Agent(name="A", model=model, output_type=Weather), memory, user)

    answered = await client.post("/agents/sessions/a/chat", json={"message": "Paris?"})

    assert answered.json()["response"] == {"city": "Paris", "degrees": 21}


async def test_messages_are_what_was_said(client_of: ClientOf, place: Place, user: str) -> None:
    """Neither tool calls nor their outputs are shown to the user, unless the application asks."""
    client = await client_of(looking_up("It is warm."), place, user)
    await client.post("/agents/sessions/a/chat", json={"message": "Paris?"})
    all_of_it = await client_of(answering(), place, user, all_messages=True)

    said = (await client.get("/agents/sessions/a/messages")).json()
    messages = (await all_of_it.get("/agents/sessions/a/messages")).json()

    assert [(m["role"], m["content"]) for m in said] == [
        ("user", "Paris?"),
        ("assistant", "It is warm."),
    ]
    assert [(m["role"], m["content"], m["tool_name"], m["tool_call_id"]) for m in messages] == [
        ("user", "Paris?", None, None),
        ("assistant", '{"city": "Paris"}', "weather", "call_1"),
        ("tool", "21 degrees in Paris", None, "call_1"),
        ("assistant", "It is warm.", None, None),
    ]
    assert said == [messages[0], messages[3]]
    assert all((message["created_at"] is not None) == place.is_sql for message in messages)


async def test_messages_come_in_pages(client_of: ClientOf, place: Place, user: str) -> None:
    """The newest come first, in order; ``before`` leads to the older ones, to the end."""
    await place.said(user, "a", *map(str, range(7)))
    client = await client_of(answering(), place, user)

    pages, query = [], "limit=3"
    for _ in range(4):
        page = (await client.get(f"/agents/sessions/a/messages?{query}")).json()
        pages.append([message["content"] for message in page])
        query = f"limit=3&before={page[0]['position'] if page else 0}"

    assert pages == [["4", "5", "6"], ["1", "2", "3"], ["0"], []]


async def test_messages_are_of_one_conversation(
    client_of: ClientOf, place: Place, user: str, stranger: str
) -> None:
    """Neither another one of the user's nor another user's of the same id is among them."""
    for owner, session_id in [(user, "a"), (user, "b"), (stranger, "a")]:
        await place.said(owner, session_id, *[f"{session_id} of {owner}"] * 2)
    client = await client_of(answering(), place, user)

    for session_id in ("a", "b"):
        messages = (await client.get(f"/agents/sessions/{session_id}/messages")).json()
        assert [message["content"] for message in messages] == [f"{session_id} of {user}"] * 2


async def test_conversations_are_listed(client_of: ClientOf, place: Place, user: str) -> None:
    """The last written to comes first; pages and a flag choose; an SQL database counts."""
    mine = place.store.user(user)
    for name in ("three", "one", "two"):
        await mine.session(name, name=f"Number {name}").add_items(
            [{"role": "user", "content": "x"}]
        )
    await mine.update("two", is_active=False)
    client = await client_of(answering(), place, user)

    async def listed(query: str = "") -> tuple[list[str], int | None]:
        body = (await client.get(f"/agents/sessions?{query}")).json()
        return [item["session_id"] for item in body["items"]], body["total"]

    def total(count: int) -> int | None:
        return count if place.is_sql else None

    assert await listed() == (["two", "one", "three"], total(3))
    assert await listed("is_active=true") == (["one", "three"], total(2))
    assert await listed("is_active=false") == (["two"], total(1))
    assert await listed("limit=2") == (["two", "one"], total(3))
    first = (await client.get("/agents/sessions?limit=2")).json()
    assert (first["limit"], first["total"]) == (2, total(3))
    query = f"/agents/sessions?limit=2&after={first['cursor']}"
    last = (await client.get(query)).json()
    assert [item["session_id"] for item in last["items"]] == ["three"]
    assert last["cursor"] is None
    [item] = last["items"]
    assert (item["session_name"], item["description"], item["is_active"]) == (
        "Number three",
        None,
        True,
    )
    for field in ("created_at", "updated_at"):
        age = datetime.now(timezone.utc) - datetime.fromisoformat(
            item[field].replace("Z", "+00:00")
        )
        assert abs(age.total_seconds()) < 600


async def test_a_search_is_for_databases(client_of: ClientOf, place: Place, user: str) -> None:
    """In SQL a part of the name chooses; elsewhere the answer says that there is no search."""
    for name in ("one", "two", "three"):
        session = place.store.user(user).session(name, name=f"Number {name} 100%")
        await session.add_items([{"role": "user", "content": "Hi"}])
    client = await client_of(answering(), place, user)

    found = await client.get("/agents/sessions?search=THREE")

    if place.is_sql:
        assert [item["session_id"] for item in found.json()["items"]] == ["three"]
        assert found.json()["total"] == 1
        assert (await client.get("/agents/sessions?search=%25")).json()["total"] == 3
        assert (await client.get("/agents/sessions?search=nothing")).json()["items"] == []
    else:
        assert found.status_code == 400
        assert found.json()["detail"] == "Conversations cannot be searched here."


async def test_a_patch_changes_what_it_says(client_of: ClientOf, place: Place, user: str) -> None:
    """What is left out stays, null clears, and no message is touched."""
    await place.said(user)
    client = await client_of(answering(), place, user)

    async def patch(**changes: Any) -> tuple[Any, ...]:
        body = (await client.patch("/agents/sessions/mine", json=changes)).json()
        return body["session_name"], body["description"], body["is_active"]

    assert await patch() == ("My own", None, True)
    assert await patch(description="More") == ("My own", "More", True)
    assert await patch(session_name="Other", is_active=False) == ("Other", "More", False)
    assert await patch(session_name=None, description=None) == (None, None, False)
    assert await patch(is_active=True) == (None, None, True)
    assert len((await client.get("/agents/sessions/mine/messages")).json()) == 1


async def test_a_deletion_takes_the_messages_along(
    client_of: ClientOf, place: Place, user: str, stranger: str
) -> None:
    """Nothing of the conversation is left, and nothing of another is gone."""
    await place.said(user)
    await place.said(user, "other")
    await place.said(stranger)
    client = await client_of(answering(), place, user)

    assert (await client.delete("/agents/sessions/mine")).status_code == 204

    assert (await client.delete("/agents/sessions/mine")).status_code == 404
    assert (await client.get("/agents/sessions/mine/messages")).status_code == 404
    items = (await client.get("/agents/sessions")).json()["items"]
    assert [item["session_id"] for item in items] == ["other"]
    assert await place.stored(user, "mine") == []
    assert await place.stored(stranger, "mine") == ["user"]


async def test_changes_and_turns_do_not_disturb_each_other(
    client_of: ClientOf, place: Place, user: str
) -> None:
    """Beside chats and each other, changes wait and are made; all of them, and no more."""
    await place.said(user)
    client = await client_of(answering(*["Yes."] * 8), place, user, lease_wait=60)
    path = "/agents/sessions/mine"

    answers = await asyncio.gather(
        *(client.post(f"{path}/chat", json={"message": "Hi"}) for _ in range(8)),
        *(client.patch(path, json={"session_name": f"{number}"}) for number in range(8)),
        *(client.patch(path, json={"description": f"{number}"}) for number in range(8)),
    )

    assert {answered.status_code for answered in answers} == {200}
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_name"] in set("01234567")
    assert row["description"] in set("01234567")
    assert len((await client.get(f"{path}/messages?limit=100")).json()) == 1 + 2 * 8


# -- Forks -----------------------------------------------------------------------------------


async def test_a_fork_goes_its_own_way(client_of: ClientOf, place: Place, user: str) -> None:
    """It begins with the same items, and what is said in one is not heard in the other."""
    await place.said(user, "mine", "one", "two")
    agent = answering("Yes.")
    client = await client_of(agent, place, user)

    forked = await client.post("/agents/sessions/mine/fork", json={"session_id": "my fork"})

    assert forked.status_code == 201
    assert forked.json()["session_id"] == "my fork"
    assert forked.json()["session_name"] == "My own"
    said = await client.post("/agents/sessions/my%20fork/chat", json={"message": "three"})
    assert said.status_code == 200
    assert [item["content"] for item in last_input(agent)] == ["one", "two", "three"]
    assert await place.stored(user, "mine") == ["user", "user"]
    assert await place.stored(user, "my fork") == ["user", "user", "user", "message"]


@pytest.mark.parametrize(("items", "copied"), [(0, 0), (1, 1), (2, 2), (9, 2), (None, 2)])
async def test_a_fork_may_be_of_the_beginning(
    client_of: ClientOf, place: Place, user: str, items: int | None, copied: int
) -> None:
    """It has the oldest items, as many as were asked for."""
    await place.said(user, "mine", "one", "two")
    client = await client_of(answering(), place, user)
    body = {"session_id": "fork", "items": items}

    assert (await client.post("/agents/sessions/mine/fork", json=body)).status_code == 201

    messages = (await client.get("/agents/sessions/fork/messages")).json()
    assert [message["content"] for message in messages] == ["one", "two"][:copied]


async def test_a_fork_needs_a_free_id_and_a_conversation(
    client_of: ClientOf, place: Place, user: str, stranger: str
) -> None:
    """Of what is not there it is 404, on what is there 409; another user's are not there."""
    await place.said(user)
    await place.said(user, "other", "here already")
    await place.said(stranger, "theirs")
    client = await client_of(answering(), place, user)

    async def fork(session_id: str, new_id: str) -> tuple[int, Any]:
        path = f"/agents/sessions/{session_id}/fork"
        answered = await client.post(path, json={"session_id": new_id})
        return answered.status_code, answered.json()

    taken = {"status_code": 409, "detail": "There is such a conversation already."}
    assert await fork("mine", "other") == (409, taken)
    assert await fork("mine", "mine") == (409, taken)
    assert await fork("nothing", "new") == (404, NOT_FOUND)
    assert await fork("theirs", "new") == (404, NOT_FOUND)
    [other] = (await client.get("/agents/sessions/other/messages")).json()
    assert other["content"] == "here already"
    assert (await fork("mine", "theirs"))[0] == 201  # which is one of the user's own
    assert await place.stored(stranger, "theirs") == ["user"]


# -- Whose it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_nobody_is_let_in(
    *, client_of: ClientOf, memory: Place, user: str, method: str, path: str, body: Any
) -> None:
    """Without a user the answer is 401, whatever the query says about one."""
    await memory.said(user)
    client = await client_of(answering("never said"), memory)

    for query in ("", f"?user_id={user}&user={user}&conversations={user}", "?agent_session=x"):
        answered = await client.request(method, path + query, json=body)
        assert answered.status_code == 401
        assert "secret" not in answered.text
    assert await memory.stored(user, "mine") == ["user"]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES[3:])
async def test_a_stranger_finds_nothing(
    *,
    client_of: ClientOf,
    place: Place,
    user: str,
    stranger: str,
    method: str,
    path: str,
    body: Any,
) -> None:
    """Another user's conversation is 404, told apart in nothing from one that never was."""
    await place.said(user)
    client = await client_of(answering(), place, stranger)

    for session_id in ("mine", "nobody's"):
        asked = path.replace("mine", quote(session_id)) + f"?user_id={user}"
        answered = await client.request(method, asked, json=body)
        assert answered.status_code == 404
        assert answered.json() == NOT_FOUND
    [row] = await place.store.user(user).session("mine").get_items()
    assert row == {"role": "user", "content": "a secret of mine"}


@pytest.mark.parametrize("route", ["chat", "chat/stream"])
async def test_a_stranger_begins_a_conversation_of_the_same_id(
    client_of: ClientOf, place: Place, user: str, stranger: str, route: str
) -> None:
    """The id of another user's conversation is a new one; the model sees nothing of the other."""
    await place.said(user)
    agent = answering("Who are you?")
    client = await client_of(agent, place, stranger)

    answered = await client.post(f"/agents/sessions/mine/{route}", json={"message": "Hi"})

    assert answered.status_code == 200
    assert "secret" not in str(last_input(agent))
    assert await place.stored(user, "mine") == ["user"]
    assert await place.stored(stranger, "mine") == ["user", "message"]
    assert (await client.get("/agents/sessions")).json()["items"][0]["session_name"] is None
