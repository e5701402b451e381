"""Conversations through the SDK's own Runner, as a pytest base class.

Derive a ``Test…`` class from :class:`SDKRuns` and fill in the hooks. The contract proves
each method by itself; this suite proves that the SDK, which calls them in its own order
and compares what it reads with what it wrote, keeps a whole conversation on the store.
The model is the SDK's ``ScriptedModel``: it records what it was given.

Needs ``pytest-asyncio`` in its auto mode.
"""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from agents import (
    Agent,
    Model,
    RunConfig,
    Runner,
    RunState,
    SessionSettings,
    function_tool,
    handoff,
)
from agents.extensions.memory import EncryptedSession
from agents.memory import OpenAIResponsesCompactionSession
from agents.testing import ScriptedModel, assistant_message, function_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

# Sessions of every kind come by here, and wrappers around them.
AnySession: TypeAlias = Any
Item: TypeAlias = Any

SESSION_ID = "conversation"
QUIET: Any = {"tracing_disabled": True}
KEY = "a key that is long and random enough for a test"

run_or_stream = pytest.mark.parametrize("streamed", [False, True], ids=["run", "run_streamed"])


def script(*steps: Item) -> ScriptedModel:
    """Return a model that takes these steps; a text stands for an answer in words."""
    return ScriptedModel(
        [
            [
                assistant_message(step, item_id=f"message {number}: {step}")
                if isinstance(step, str)
                else step
            ]
            for number, step in enumerate(steps)
        ]
    )


def gist(items: Sequence[Item]) -> list[str]:
    """Return what was said and done, an item a line."""
    return [_line(item) for item in items]


def _line(item: Item) -> str:
    if item.get("type") == "function_call":
        return f"{item['name']}({item['arguments']})"
    if item.get("type") == "function_call_output":
        return f"-> {item['output']}"
    content = item["content"]
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content)
    return f"{item['role']}: {content}"


def given(model: ScriptedModel) -> list[str]:
    """Return the gist of what the model was given when it was last called."""
    assert model.last_call is not None
    return gist(model.last_call.input)


async def run(agent: Agent[Any], said: Any, *, streamed: bool = False, **options: Any) -> Any:
    """Run a turn to its end, streamed or not."""
    options.setdefault("run_config", RunConfig(**QUIET))
    if not streamed:
        return await Runner.run(agent, said, **options)
    result = Runner.run_streamed(agent, said, **options)
    async for _ in result.stream_events():
        pass
    return result


def bot(model: Model, **options: Any) -> Agent[Any]:
    """Return an agent that speaks by this model."""
    return Agent(name="bot", model=model, **options)


@function_tool
def weather(city: str) -> str:
    """Return the weather."""
    return f"sunny in {city}"


def ask_weather(city: str) -> Item:
    """Return a model's call of the tool above."""
    return function_call("weather", {"city": city}, call_id=f"call for {city}")


class FakeCompaction:
    """Stands in for the OpenAI client: summarizes by counting, and remembers its input."""

    def __init__(self) -> None:
        self.inputs: list[list[str]] = []
        self.responses = SimpleNamespace(compact=self._compact)

    async def _compact(self, *, input: list[Item], **_: Any) -> Any:  # noqa: A002 - API's word
        self.inputs.append(gist(input))
        summary = {"role": "assistant", "content": f"summary of {len(input)}"}
        return SimpleNamespace(output=[summary], usage=None)


def compacting(store: AnySession, client: FakeCompaction, threshold: int) -> AnySession:
    """Return a session that compacts once so many items were not said by the user."""
    openai: Any = client
    return OpenAIResponsesCompactionSession(
        SESSION_ID,
        store,
        client=openai,
        compaction_mode="input",
        should_trigger_compaction=lambda seen: len(seen["compaction_candidate_items"]) >= threshold,
    )


class SDKRuns:
    """What must come out right when the SDK's Runner keeps its history in a session."""

    # -- Hooks --------------------------------------------------------------------------

    def make_session(self, session_id: str = SESSION_ID, **options: Any) -> AnySession:
        """Make a session on the test's store; the same id is the same conversation."""
        raise NotImplementedError

    async def connect(self) -> tuple[AnySession, Callable[[], Awaitable[None]]]:
        """Reach the conversation anew, from another event loop; and say how to close it."""
        raise NotImplementedError

    # -- Turns --------------------------------------------------------------------------

    @run_or_stream
    async def test_each_turn_continues_the_last_ones(self, streamed: bool) -> None:
        """The model is given all former turns, and every turn is stored once."""
        model = script("Hello!", "Blue.", "You are Ada.")
        turns = ["I am Ada.", "What is my colour?", "Who am I?"]
        expected: list[str] = []
        for turn, answer in zip(turns, ["Hello!", "Blue.", "You are Ada."], strict=True):
            result = await run(bot(model), turn, session=self.make_session(), streamed=streamed)
            assert result.final_output == answer
            assert given(model) == [*expected, f"user: {turn}"]
            expected += [f"user: {turn}", f"assistant: {answer}"]
            assert gist(await self.make_session().get_items()) == expected

    # run_sync shuts the loop's generators down after a run and uses the loop again (0.24).
    @pytest.mark.filterwarnings("ignore:asynchronous generator .* after:ResourceWarning")
    # It also asks for the policy of event loops, which Python 3.14 deprecates.
    @pytest.mark.filterwarnings("ignore:.*get_event_loop_policy:DeprecationWarning")
    async def test_run_sync_continues_too(self) -> None:
        """Code without an event loop of its own keeps its history in the same place."""
        model = script("Hello!", "You are Ada.")

        def converse() -> list[str]:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)  # where run_sync looks for it
            try:
                session, close = loop.run_until_complete(self.connect())
                try:
                    return [
                        Runner.run_sync(
                            bot(model), said, session=session, run_config=RunConfig(**QUIET)
                        ).final_output
                        for said in ("I am Ada.", "Who am I?")
                    ]
                finally:
                    loop.run_until_complete(_awaited(close))
            finally:
                asyncio.set_event_loop(None)
                loop.close()

        # In a thread of its own: this one's event loop is running.
        assert await asyncio.to_thread(converse) == ["Hello!", "You are Ada."]
        said = ["user: I am Ada.", "assistant: Hello!", "user: Who am I?"]
        assert given(model) == said
        assert gist(await self.make_session().get_items()) == [*said, "assistant: You are Ada."]

    async def test_conversations_are_kept_apart(self) -> None:
        """Another session id is another conversation, for the model as well."""
        model = script("Hello Ada.", "Hello Bob.")
        await run(bot(model), "I am Ada.", session=self.make_session("ada"))
        await run(bot(model), "I am Bob.", session=self.make_session("bob"))
        assert given(model) == ["user: I am Bob."]
        assert gist(await self.make_session("ada").get_items())[0] == "user: I am Ada."

    async def test_two_agents_share_a_session(self) -> None:
        """What one agent heard, another one knows."""
        first, second = script("Noted."), script("4711.")
        await run(Agent(name="first", model=first), "It is 4711.", session=self.make_session())
        await run(Agent(name="second", model=second), "What is it?", session=self.make_session())
        assert given(second) == ["user: It is 4711.", "assistant: Noted.", "user: What is it?"]

    # -- Tools, handoffs, approval ------------------------------------------------------

    @run_or_stream
    async def test_a_tool_call_is_history(self, streamed: bool) -> None:
        """The call and its output are stored between question and answer, and shown again."""
        model = script(ask_weather("Oslo"), "It is sunny.", "You are welcome.")
        agent = bot(model, tools=[weather])
        await run(agent, "Weather?", session=self.make_session(), streamed=streamed)
        expected = [
            "user: Weather?",
            'weather({"city":"Oslo"})',
            "-> sunny in Oslo",
            "assistant: It is sunny.",
        ]
        assert gist(await self.make_session().get_items()) == expected
        await run(agent, "Thanks.", session=self.make_session(), streamed=streamed)
        assert given(model) == [*expected, "user: Thanks."]

    @run_or_stream
    async def test_a_handoff_is_history(self, streamed: bool) -> None:
        """The agent that takes over is given what was said, and the next turn all of it."""
        expert_model = script("I am the expert.", "Still me.")
        expert = Agent(name="expert", model=expert_model)
        model = script("Hello!", function_call("ask_expert", {}, call_id="handoff"))
        agent = bot(model, handoffs=[handoff(expert, tool_name_override="ask_expert")])

        await run(agent, "Hi.", session=self.make_session(), streamed=streamed)
        result = await run(agent, "Help!", session=self.make_session(), streamed=streamed)
        assert result.last_agent is expert
        stored = gist(await self.make_session().get_items())
        # How the SDK words the output of a handoff is its own affair.
        assert [line for line in stored if not line.startswith("-> ")] == [
            "user: Hi.",
            "assistant: Hello!",
            "user: Help!",
            "ask_expert({})",
            "assistant: I am the expert.",
        ]
        await run(expert, "And now?", session=self.make_session(), streamed=streamed)
        assert given(expert_model) == [*stored, "user: And now?"]

    @run_or_stream
    async def test_an_approval_resumes_in_another_process(self, streamed: bool) -> None:
        """A run that waits for a person goes on from its JSON, with nothing stored twice."""
        model = script("Hello!", ask_weather("Oslo"), "It is sunny.")
        agent = bot(model, tools=[_with_approval()])
        await run(agent, "Hi.", session=self.make_session(), streamed=streamed)
        result = await run(agent, "Weather?", session=self.make_session(), streamed=streamed)
        assert [call.name for call in result.interruptions] == ["weather"]

        state = await RunState.from_string(agent, result.to_state().to_string())
        state.approve(state.get_interruptions()[0])
        result = await run(agent, state, session=self.make_session(), streamed=streamed)
        assert result.final_output == "It is sunny."
        assert gist(await self.make_session().get_items()) == [
            "user: Hi.",
            "assistant: Hello!",
            "user: Weather?",
            'weather({"city":"Oslo"})',
            "-> sunny in Oslo",
            "assistant: It is sunny.",
        ]

    @pytest.mark.parametrize("wrote", [False, True], ids=["nothing written", "all written"])
    async def test_a_failed_append_is_made_up_for(
        self, wrote: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A resumed run whose append raised goes on: no second tool call, nothing doubled."""
        calls: list[str] = []
        model = script(ask_weather("Oslo"), "It is sunny.")
        agent = bot(model, tools=[_with_approval(calls)])
        result = await run(agent, "Weather?", session=self.make_session())
        state = result.to_state()
        state.approve(state.get_interruptions()[0])

        session = self.make_session()
        add_items = session.add_items

        async def fail(items: list[Item]) -> None:
            if wrote:
                await add_items(items)
            raise ConnectionError("the store went away")

        monkeypatch.setattr(session, "add_items", fail)
        with pytest.raises(ConnectionError, match="went away"):
            await run(agent, state, session=session)
        assert calls == ["Oslo"]

        result = await run(agent, state, session=self.make_session())
        assert result.final_output == "It is sunny."
        assert calls == ["Oslo"]
        assert gist(await self.make_session().get_items()) == [
            "user: Weather?",
            'weather({"city":"Oslo"})',
            "-> sunny in Oslo",
            "assistant: It is sunny.",
        ]

    # -- What the model is shown --------------------------------------------------------

    @run_or_stream
    async def test_an_input_callback_decides_what_is_shown(self, streamed: bool) -> None:
        """It chooses what the model sees; what is stored stays whole."""
        model = script("One.", "Two.", "Three.")

        def last_answer_only(history: list[Item], new: list[Item]) -> list[Item]:
            return history[-1:] + new

        for turn in "abc":
            await run(
                bot(model),
                turn,
                session=self.make_session(),
                streamed=streamed,
                run_config=RunConfig(session_input_callback=last_answer_only, **QUIET),
            )
        assert given(model) == ["assistant: Two.", "user: c"]
        assert gist(await self.make_session().get_items()) == [
            "user: a",
            "assistant: One.",
            "user: b",
            "assistant: Two.",
            "user: c",
            "assistant: Three.",
        ]

    @pytest.mark.parametrize(
        "settings", [SessionSettings(limit=2), {"limit": 2}], ids=["settings", "dict"]
    )
    async def test_the_session_limits_what_is_shown(self, settings: Any) -> None:
        """Its default limit cuts off the oldest items, in either spelling."""
        model = script("One.", "Two.", "Three.")
        for turn in "abc":
            session = self.make_session(session_settings=settings)
            await run(bot(model), turn, session=session)
        assert given(model) == ["user: b", "assistant: Two.", "user: c"]
        assert len(await self.make_session().get_items()) == 6

    async def test_the_run_overrides_the_session_limit(self) -> None:
        """RunConfig has the last word, towards less and towards more."""
        model = script("One.", "Two.", "Three.", "Four.")
        for turn, limit in zip("abcd", [None, None, 1, 4], strict=True):
            await run(
                bot(model),
                turn,
                session=self.make_session(session_settings={"limit": 2}),
                run_config=RunConfig(session_settings=SessionSettings(limit=limit), **QUIET),
            )
        shown = [gist(call.input) for call in model.calls]
        assert shown[2] == ["assistant: Two.", "user: c"]
        assert shown[3] == ["user: b", "assistant: Two.", "user: c", "assistant: Three.", "user: d"]

    # -- Wrappers -----------------------------------------------------------------------

    @run_or_stream
    async def test_an_encrypted_conversation_goes_on(self, streamed: bool) -> None:
        """The model reads it in the clear; the store holds none of its words."""
        model = script(ask_weather("Oslo"), "It is sunny.", "You are Ada.")
        agent = bot(model, tools=[weather])
        for turn in ("I am Ada. Weather?", "Who am I?"):
            session = EncryptedSession(SESSION_ID, self.make_session(), KEY)
            await run(agent, turn, session=session, streamed=streamed)
        assert given(model) == [
            "user: I am Ada. Weather?",
            'weather({"city":"Oslo"})',
            "-> sunny in Oslo",
            "assistant: It is sunny.",
            "user: Who am I?",
        ]
        stored = await self.make_session().get_items()
        assert len(stored) == 6
        assert all(item["__enc__"] for item in stored)
        for words in ("I am Ada", "in Oslo", '"Oslo'):  # a cipher text may well have a short word
            assert words not in json.dumps(stored)

    @run_or_stream
    async def test_compaction_replaces_the_history(self, streamed: bool) -> None:
        """Once there is enough of it, the summary takes its place, and the talk goes on."""
        client = FakeCompaction()
        model = script("One.", "Two.", "Three.")
        session = compacting(self.make_session(), client, threshold=2)
        await run(bot(model), "a", session=session, streamed=streamed)
        assert client.inputs == []
        await run(bot(model), "b", session=session, streamed=streamed)
        assert client.inputs == [["user: a", "assistant: One.", "user: b", "assistant: Two."]]
        assert gist(await self.make_session().get_items()) == ["assistant: summary of 4"]

        session = compacting(self.make_session(), client, threshold=9)
        await run(bot(model), "c", session=session, streamed=streamed)
        assert given(model) == ["assistant: summary of 4", "user: c"]

    async def test_compaction_replaces_what_the_model_saw(self) -> None:
        """Of a history that the model saw the end of, that end alone is replaced."""
        store = self.make_session()
        await store.add_items([{"role": "user", "content": f"old {n}"} for n in range(4)])
        client = FakeCompaction()
        model = script("New.")
        await run(
            bot(model),
            "c",
            session=compacting(store, client, threshold=1),
            run_config=RunConfig(session_settings=SessionSettings(limit=2), **QUIET),
        )
        seen = ["user: old 2", "user: old 3", "user: c", "assistant: New."]
        assert client.inputs == [seen]
        stored = gist(await self.make_session().get_items())
        assert stored == ["user: old 0", "user: old 1", "assistant: summary of 4"]

    async def test_compaction_leaves_a_changed_history_alone(self) -> None:
        """What another process appends while the summary is made is not lost to it."""
        client = FakeCompaction()
        compact = client.responses.compact

        async def interrupted(**options: Any) -> Any:
            await self.make_session().add_items([{"role": "user", "content": "meanwhile"}])
            return await compact(**options)

        client.responses.compact = interrupted
        session = compacting(self.make_session(), client, threshold=1)
        await run(bot(script("One.")), "a", session=session)
        assert len(client.inputs) == 1
        assert gist(await self.make_session().get_items()) == [
            "user: a",
            "assistant: One.",
            "user: meanwhile",
        ]

    @run_or_stream
    async def test_an_encrypted_history_is_compacted(self, streamed: bool) -> None:
        """Encryption over compaction: the summary replaces the history, encrypted itself."""
        client = FakeCompaction()
        model = script("One.", "Two.", "Three.")

        def encrypted(threshold: int) -> EncryptedSession:
            inner = compacting(self.make_session(), client, threshold)
            return EncryptedSession(SESSION_ID, inner, KEY)

        session = encrypted(2)
        for turn in "ab":
            await run(bot(model), turn, session=session, streamed=streamed)
        assert client.inputs == [["user: a", "assistant: One.", "user: b", "assistant: Two."]]
        stored = await self.make_session().get_items()
        assert len(stored) == 1
        assert "summary" not in json.dumps(stored)
        assert gist(await encrypted(9).get_items()) == ["assistant: summary of 4"]

        await run(bot(model), "c", session=encrypted(9), streamed=streamed)
        assert given(model) == ["assistant: summary of 4", "user: c"]

    async def test_compaction_reclaims_expired_envelopes(self) -> None:
        """What is too old to be read goes with the compaction, and nothing younger does."""
        client = FakeCompaction()
        inner = compacting(self.make_session(), client, threshold=1)
        session = EncryptedSession(SESSION_ID, inner, KEY, ttl=600)
        old = json.dumps({"role": "user", "content": "long ago"}).encode()
        payload = session.cipher.encrypt_at_time(old, int(time.time()) - 6000).decode()
        envelope = {"__enc__": 1, "v": 1, "kid": "hkdf-v1", "payload": payload}
        await self.make_session().add_items([envelope] * 5)

        model = script("One.")
        await run(bot(model), "a", session=session)
        assert given(model) == ["user: a"]
        assert client.inputs == [["user: a", "assistant: One."]]
        assert len(await self.make_session().get_items()) == 1
        assert gist(await session.get_items()) == ["assistant: summary of 2"]


def _with_approval(calls: list[str] | None = None) -> Any:
    """Return the weather tool as one that a person has to allow."""

    @function_tool(name_override="weather", needs_approval=True)
    def allowed_weather(city: str) -> str:
        """Return the weather."""
        if calls is not None:
            calls.append(city)
        return f"sunny in {city}"

    return allowed_weather


async def _awaited(close: Callable[[], Awaitable[None]]) -> None:
    await close()
