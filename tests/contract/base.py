"""What a store has to say for the contract: its abilities, its hooks, and the fixtures on them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, TypeAlias, TypeVar

import pytest
import pytest_asyncio

from tests.contract.values import SECRET, user

# Which methods a session has beyond the SDK's protocol is a matter of the abilities
# below, so no one protocol describes every session that comes by here.
AnySession: TypeAlias = Any

_Test = TypeVar("_Test", bound=Callable[..., Any])


def requires(*abilities: str) -> Callable[[_Test], _Test]:
    """Collect the test only where every one of these abilities is switched on."""

    def mark(test: _Test) -> _Test:
        setattr(test, "abilities", abilities)  # noqa: B010 - a function has no such attribute
        return test

    return mark


def collect_able(cls: type[Any]) -> None:
    """Take the tests of abilities that are switched off out of a class.

    They stay in the class that defines them: another one that derives from it may be able.
    """
    for name in dir(cls):
        found = (vars(base).get(name) for base in cls.__mro__)
        test = next((one for one in found if one is not None), None)
        abilities: tuple[str, ...] = getattr(test, "abilities", ())
        if abilities and name not in vars(cls):
            able = all(getattr(cls, ability) for ability in abilities)
            setattr(cls, name, test if able else None)


class Contract:
    """The abilities and the hooks of a store; the tests of a promise derive from this."""

    # Abilities: switch off what the store does not promise.
    strict_items: ClassVar[bool] = True  # takes models, and refuses what JSON cannot hold
    validates: ClassVar[bool] = True  # refuses bad arguments at construction
    strict_limits: ClassVar[bool] = True  # a limit below zero gives no items
    replaces: ClassVar[bool] = True  # replace_items, in one step
    snapshots: ClassVar[bool] = True  # the SDK's hook _get_compaction_snapshot
    expires: ClassVar[bool] = True  # takes a ttl
    leaves_expiry: ClassVar[bool] = True  # without a ttl, keeps an expiry set by others
    vanishes: ClassVar[bool] = True  # of an emptied conversation nothing is left
    keeps_unreadable: ClassVar[bool] = True  # warns of records it cannot read, keeps them
    settles: ClassVar[bool] = True  # a write that has begun is done before a cancellation
    manages_client: ClassVar[bool] = True  # ping, an awaitable close, ``async with``
    leases: ClassVar[bool] = True  # lease and busy
    tells_time: ClassVar[bool] = True  # has a clock of its own, by which leases run out

    # The class that make_session builds; some tests derive from it.
    session_class: ClassVar[type[Any]]
    # Raw records that the store can hold but no session can read.
    unreadable: ClassVar[tuple[bytes, ...]] = (
        f"not JSON: {SECRET}".encode(),
        b'{"role": "user", "content": "' + SECRET.encode(),
        f'"{SECRET}"'.encode(),
        b'["a", "list"]',
        b"null",
        b"42",
        b"",
        b'{"role": "user", "content": nan}',
        b'{"role": "user", "content": "\xff"}',
        b"\xff\xfe" + SECRET.encode(),
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the tests of abilities that are switched off out of the collection."""
        super().__init_subclass__(**kwargs)
        collect_able(cls)

    # Hooks

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[None]:
        """Prepare the store before a test and tidy it up afterwards; override it."""
        yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Return a session of class ``cls`` or ``session_class``.

        The options are ``ttl`` (only where ``expires``) and ``session_settings``.
        """
        raise NotImplementedError

    async def close_session(self, session: AnySession) -> None:
        """Let go of a session that a test has finished with."""
        await session.close()

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return every stored record of the session, oldest first, as it is stored."""
        raise NotImplementedError

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append a raw record that the session cannot read."""
        raise NotImplementedError

    async def expire(self, session: AnySession) -> None:
        """Move the record or the clock so that the session is past its TTL."""
        raise NotImplementedError

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return the seconds that the session has left, None if it will not expire."""
        raise NotImplementedError

    async def set_ttl_left(self, session: AnySession, seconds: int) -> None:
        """Let the stored session expire in this many seconds, behind its back."""
        raise NotImplementedError

    async def lapse(self, session: AnySession) -> None:
        """Move the record or the clock so that the lease on a session has run out.

        Where ``tells_time`` is off: for whoever has asked for it before, and asks again.
        """
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until everything that was sent to the store has arrived there."""
        await asyncio.sleep(0.01)

    # Fixtures

    @pytest.fixture
    def session_id(self) -> str:
        """Return an id that no other test uses."""
        return f"contract-{uuid.uuid4().hex}"

    @pytest_asyncio.fixture
    async def session(self, session_id: str) -> AsyncIterator[AnySession]:
        """Give a session without any options."""
        session = await self.make_session(session_id)
        yield session
        await self.close_session(session)

    @pytest_asyncio.fixture
    async def lasting(self, session_id: str) -> AsyncIterator[AnySession]:
        """Give a session with a TTL of 1,000 seconds."""
        session = await self.make_session(session_id, ttl=1000)
        yield session
        await self.close_session(session)

    @pytest_asyncio.fixture(autouse=True)
    async def neighbour(
        self,
        store: None,  # noqa: ARG002 - has to be ready before any session
        session_id: str,
    ) -> AsyncIterator[AnySession]:
        """Keep another conversation beside the test's and see that it stays as it is."""
        session = await self.make_session(f"{session_id}:2")
        items = [user("I live next door"), user("and want to be left alone")]
        await session.add_items(items)
        assert await session.get_items() == items

        yield session

        assert await session.get_items() == items, "the neighbour was touched"
        await session.clear_session()
        await self.close_session(session)
