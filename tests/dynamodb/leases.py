"""What the tests of leases in DynamoDB share: holders, and the clock by which waiters go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb import _lease
from tests.dynamodb.store import Clock

if TYPE_CHECKING:
    import pytest

LIFE = 600
ADA = "Ada"
NEW = [b'{"role":"user","content":"new"}']


def clock_of_waiters(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that waiters use in a test, which has seen nothing yet."""
    clock = Clock()
    monkeypatch.setattr(_lease, "monotonic", clock)
    monkeypatch.setattr(_lease, "_sightings", _lease._Sightings())
    return clock


def claim_on(session: Any, holder: str, seconds: int = LIFE) -> Any:
    """Return what a holder asks of the lease on a session; nothing renews it."""
    return session._conversation.claim(holder, seconds)


def claim_of(held: Any) -> Any:
    """Return the claim of a session that a lease gave."""
    return held._lease._claim


async def taken_over(session: Any, clock: Clock, holder: str = "other") -> Any:
    """Let another one wait for the lease until it has run out, and take it."""
    other = claim_on(session, holder)
    assert await other.acquire(60) == 1
    clock.ahead += LIFE + 0.001
    assert await other.acquire(60) == 0
    return other
