"""Many at once: what is listed and what is there agree, whoever does what."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from openai_agents_session.store import SessionExistsError, SessionNotFoundError
from tests.contract.store_base import AnyStore, AnyView, StoreBase
from tests.contract.values import numbered


async def act(view: AnyView, ids: list[str], steps: int, seed: int) -> None:
    """Do one thing after the other to a user's conversations, by chance."""
    chance = random.Random(seed)
    for at in range(steps):
        one, other = chance.choice(ids), chance.choice(ids)
        with suppress(SessionNotFoundError, SessionExistsError):
            match chance.randrange(9):
                case 0 | 1 | 2:
                    await view.session(one, name=one).add_items(numbered(at, at + 3))
                case 3:
                    await view.update(one, name=f"{seed} {at}", is_active=bool(at % 2))
                case 4:
                    await view.delete(one)
                case 5:
                    await view.fork(one, other)
                case 6:
                    await view.session(one).pop_item()
                case 7:
                    await view.session(one).clear_session()
                case _:
                    await view.touch(one)


class TogetherContract(StoreBase):
    """Writers of all kinds beside each other."""

    async def test_many_tasks(self, store: AnyStore, ada: AnyView) -> None:
        """Updates, deletes, forks and appends of the same conversations leave all agreeing."""
        ids = [f"{at}" for at in range(6)]

        await asyncio.gather(*(act(store.user(ada.user_id), ids, 12, seed) for seed in range(8)))

        found = [each async for each in ada]
        assert {each.session_id for each in found} <= set(ids)
        for each in found:
            got = await ada.get(each.session_id)
            assert got.item_count == len(await ada.session(each.session_id).get_items())
        await self.agree(store)

    async def test_a_list_beside_writers(self, store: AnyStore, ada: AnyView) -> None:
        """A conversation that nobody writes to is on the pages, whatever others do."""
        for at in range(10):
            await ada.session(f"quiet {at}").add_items(numbered(0, 1))
        ids = [f"{at}" for at in range(4)]
        writers = asyncio.gather(
            *(act(store.user(ada.user_id), ids, 10, seed) for seed in range(4))
        )
        while not writers.done():
            found = [each.session_id async for each in ada if each.session_id[0] == "q"]
            assert found == [f"quiet {at}" for at in reversed(range(10))]
        await writers
