"""The item of a conversation's lease: who holds it, and who waits.

    session_id          S     {key of the session's item}~{12 characters made of that key}
    page_of             S     the key of the session's item; so this is no session
    version             N     one more with every change; begins anywhere
    holder              S     who holds the lease; only while somebody does
    seconds             N     how long it lives without being renewed
    beat                N     one more with every renewal, and when the holder changes
    number              N     the last fence's
    watched             N     for how many seconds the beat is known to have been what it is
    queue               L     of S: ``{holder}:{beat}:{seconds}``, those who wait, in their order;
                              0 seconds for one that waits no longer
    ttl                 N     epoch seconds: when nobody needs this any more
    user, updated_at    S     of a user's, as in a page

``_lease`` says what a fence is, and what is done with all this.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING

from openai_agents_session.dynamodb._driver import ConditionFailedError
from openai_agents_session.dynamodb._state import (
    NAME_LENGTH,
    NEVER,
    REMEMBERED_SECONDS,
    WRONG_CLOCK_SECONDS,
    Attribute,
    getrandbits,
)
from openai_agents_session.dynamodb._updates import conditional, number

if TYPE_CHECKING:
    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._owner import Owner

DAY = 24 * 3600


@dataclass(frozen=True)
class Waiter:
    """A place in the queue.

    Attributes:
        holder: who waits.
        beat: one more each time that it says that it still does.
        seconds: how long the place is kept after that; 0 for one that has left.
    """

    holder: str
    beat: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Waiter:
        """Return what ``str`` made a text of."""
        holder, beat, seconds = text.split(":")
        return cls(holder, int(beat), float(seconds))

    def __str__(self) -> str:
        return f"{self.holder}:{self.beat}:{self.seconds:.3f}"


@dataclass(frozen=True)
class LeaseState:
    """What the lease's item says; see there. Without a ``version`` there is none."""

    version: int | None = None
    holder: str = ""
    seconds: int = 0
    beat: int = 0
    number: int = 0
    watched: float = 0.0
    queue: tuple[Waiter, ...] = ()

    @classmethod
    def parse(cls, attributes: dict[str, Attribute]) -> LeaseState:
        """Return what an item's attributes say; ``{}`` where there is no item."""
        if not attributes:
            return cls()
        numbers = {name: value["N"] for name, value in attributes.items() if "N" in value}
        return cls(
            version=int(numbers["version"]),
            holder=attributes.get("holder", {}).get("S", ""),
            seconds=int(numbers.get("seconds", 0)),
            beat=int(numbers["beat"]),
            number=int(numbers["number"]),
            watched=float(numbers.get("watched", 0)),
            queue=tuple(
                Waiter.parse(each["S"]) for each in attributes.get("queue", {}).get("L", ())
            ),
        )


class LeaseItem:
    """The item of a conversation's lease.

    Args:
        table: where it is.
        key: of the session's item.
        owner: whose the conversation is.
    """

    def __init__(self, table: Table, key: str, owner: Owner) -> None:
        digest = urlsafe_b64encode(sha256(b"lease of " + key.encode()).digest()).decode()
        self._table = table
        self._key = {"session_id": {"S": f"{key}~{digest[:NAME_LENGTH]}"}}
        self._same: dict[str, Attribute] = {"page_of": {"S": key}}
        if owner.user is not None:
            self._same |= {"user": {"S": owner.user}, "updated_at": {"S": NEVER}}

    async def read(self) -> LeaseState:
        """Return what the item says now."""
        answer = await self._table.call("get_item", Key=self._key, ConsistentRead=True)
        return self._parsed(answer.get("Item", {}))

    async def change(self, state: LeaseState, after: LeaseState) -> LeaseState | None:
        """Let the item say something else if it still says what was read.

        Returns:
            None if that is done, else what it says now; that may be this change, if it was sent
            twice.
        """
        values = {
            **self._same,
            "version": number(getrandbits(48) if state.version is None else state.version + 1),
            "beat": number(after.beat),
            "number": number(after.number),
            "ttl": number(_lasting(after.seconds)),
        }
        if after.holder:
            values |= {"holder": {"S": after.holder}, "seconds": number(after.seconds)}
        if after.holder and after.watched > 0:
            values["watched"] = _watched(after.watched)
        if after.queue:
            values["queue"] = {"L": [{"S": str(each)} for each in after.queue]}
        gone = [name for name in ("holder", "seconds", "watched", "queue") if name not in values]
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in values)
        update += f" REMOVE {', '.join(f'#{name}' for name in gone)}" * bool(gone)
        given = {f":{name}": value for name, value in values.items()}
        condition = "attribute_not_exists(#session_id)"
        if state.version is not None:
            condition = "#version = :read"
            given[":read"] = number(state.version)
        return await self._update(update, condition, given)

    async def enqueue(self, waiter: Waiter) -> LeaseState | None:
        """Let one wait behind all others; return what the item says if it takes nobody.

        Many that come at once are not in each other's way. A copy that arrives late, when it waits
        no longer, is a place that nobody holds, and passes like any other.
        """
        values = {":none": {"L": []}, ":waiters": {"L": [{"S": str(waiter)}]}, ":one": number(1)}
        values[":waiter"] = {"S": str(waiter)}
        update = (
            "SET #queue = list_append(if_not_exists(#queue, :none), :waiters), "
            "#version = #version + :one"
        )
        condition = "attribute_exists(#beat) AND NOT contains(#queue, :waiter)"
        return await self._update(update, condition, values)

    async def say(self, state: LeaseState, waiter: Waiter, age: float) -> LeaseState | None:
        """Let one who waits say something else, and how old the beat is.

        Returns:
            What the item says if somebody has changed its place, or the beat.
        """
        at = next(at for at, each in enumerate(state.queue) if each.holder == waiter.holder)
        values = {":one": number(1), ":beat": number(state.beat), ":waiter": {"S": str(waiter)}}
        values[":before"] = {"S": str(state.queue[at])}
        update = f"SET #queue[{at}] = :waiter, #version = #version + :one"
        if state.holder:
            update += ", #watched = :watched"
            values[":watched"] = _watched(age)
        return await self._update(update, f"#queue[{at}] = :before AND #beat = :beat", values)

    async def renew(self, holder: str, seconds: int, raised: int | None = None) -> bool:
        """Let the lease's time begin anew; return whether its holder still has it.

        Args:
            holder: who has it.
            seconds: how long it lives.
            raised: the number of another fence; None for the same.
        """
        values = {":one": number(1), ":ttl": number(_lasting(seconds)), ":holder": {"S": holder}}
        update = "SET #beat = #beat + :one, #version = #version + :one, #ttl = :ttl"
        if raised is not None:
            update += ", #number = :number"
            values[":number"] = number(raised)
        return await self._update(update + " REMOVE #watched", "#holder = :holder", values) is None

    async def release(self, holder: str) -> LeaseState | None:
        """Let nobody hold the lease; return what the item says if that wasn't its holder."""
        values = {":one": number(1), ":ttl": number(_remembered()), ":holder": {"S": holder}}
        update = (
            "SET #beat = #beat + :one, #version = #version + :one, #ttl = :ttl "
            "REMOVE #holder, #seconds, #watched"
        )
        return await self._update(update, "#holder = :holder", values)

    async def supersede(self) -> None:
        """Let the lease not be taken any more by a request that has been sent before."""
        names = {**self._same, "beat": number(0), "number": number(0), "ttl": number(_remembered())}
        update = "SET #version = if_not_exists(#version, :start) + :one, " + ", ".join(
            f"#{name} = if_not_exists(#{name}, :{name})" for name in names
        )
        values = {":start": number(getrandbits(48)), ":one": number(1)}
        values |= {f":{name}": value for name, value in names.items()}
        condition = "attribute_not_exists(#session_id) OR attribute_exists(#beat)"
        await self._update(update, condition, values)

    async def _update(
        self, update: str, condition: str, values: dict[str, Attribute]
    ) -> LeaseState | None:
        request = conditional(condition, values, update)
        try:
            await self._table.call("update_item", Key=self._key, UpdateExpression=update, **request)
        except ConditionFailedError as refusal:
            return self._parsed(refusal.item) if refusal.item else await self.read()
        return None

    def _parsed(self, attributes: dict[str, Attribute]) -> LeaseState:
        if attributes and not ("page_of" in attributes and "beat" in attributes):
            raise ValueError(
                f"the key of the lease, {self._key['session_id']['S']!r}, is that of a session"
            )
        return LeaseState.parse(attributes)


def _watched(age: float) -> Attribute:
    return number(int(age * 1000) / 1000)  # never more than it is


def _lasting(seconds: int) -> int:
    """Return when an item that is in use may be deleted, in epoch seconds.

    The same all day long: a change of ``ttl`` would be one of the index of users' items, too.
    """
    return (int(time()) + seconds) // DAY * DAY + 2 * DAY


def _remembered() -> int:
    """Return until when late requests may come that have to find what they don't expect."""
    return int(time()) + REMEMBERED_SECONDS + WRONG_CLOCK_SECONDS
