"""Where a client's connections belong: one event loop of one process."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from openai_agents_session._home import Home, at_end_of_loop, home_of


async def moved(home: Home) -> bool:
    """Ask from inside of an event loop."""
    return home.move_here()


def test_the_first_event_loop_is_home() -> None:
    """Nothing was left behind by whoever is the first to ask, and asks again."""
    home = Home()

    async def ask_twice() -> tuple[bool, bool]:
        return home.move_here(), home.move_here()

    assert asyncio.run(ask_twice()) == (False, False)


def test_a_closed_event_loop_is_left_once() -> None:
    """The next event loop is told that connections were left, and then is home itself."""
    home = Home()
    asyncio.run(moved(home))

    async def ask_twice() -> tuple[bool, bool]:
        return home.move_here(), home.move_here()

    assert asyncio.run(ask_twice()) == (True, False)


def test_an_event_loop_that_nobody_has_any_more_is_left() -> None:
    """One that was collected can't run again, whether it was closed or not."""
    home = Home()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(moved(home))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Python's own: it was not closed
        del loop
        gc.collect()

    assert asyncio.run(moved(home))


def test_an_open_event_loop_keeps_its_connections() -> None:
    """Another event loop is refused while the first can still run, and the first goes on."""
    home = Home()
    first = asyncio.new_event_loop()
    try:
        assert not first.run_until_complete(moved(home))
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            asyncio.run(moved(home))
        assert not first.run_until_complete(moved(home))
    finally:
        first.close()


def test_of_two_threads_one_is_at_home() -> None:
    """Where two event loops ask at once for the first time, exactly one is refused."""

    def ask() -> str:
        async def answer() -> str:
            together.wait()
            try:
                return str(home.move_here())
            except RuntimeError:
                return "refused"
            finally:
                together.wait()  # both have asked before an event loop is closed

        return asyncio.run(answer())

    with ThreadPoolExecutor(2) as pool:
        for _ in range(50):
            home, together = Home(), Barrier(2)
            answers = [pool.submit(ask) for _ in range(2)]

            assert sorted(answer.result() for answer in answers) == ["False", "refused"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the tests have threads
def test_a_forked_process_is_another_home() -> None:
    """The child is told that connections were left, also when none had been used by then."""
    used, fresh = Home(), Home()
    asyncio.run(moved(used))
    read, write = os.pipe()
    if not (child := os.fork()):
        answers = [str(asyncio.run(moved(home))) for home in (used, fresh)]
        os.write(write, " ".join(answers).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "True True"
    os.waitpid(child, 0)


def test_connections_that_were_open_before() -> None:
    """Where somebody else has used the client first, that event loop is home."""
    loop = asyncio.new_event_loop()
    home = Home()
    assert home.is_unknown
    home.set_loop(loop)
    assert not home.is_unknown

    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        asyncio.run(moved(home))
    loop.close()
    assert asyncio.run(moved(home))


def test_a_client_has_one_home() -> None:
    """Whoever asks for a client's home gets the same, and it goes with the client."""
    client, other = Home(), Home()  # any object does

    assert home_of(client) is home_of(client)
    assert home_of(client) is not home_of(other)


def test_the_end_of_an_event_loop_is_told_once() -> None:
    """Before it is closed it awaits what it was asked to, however often it was asked."""
    ended: list[asyncio.AbstractEventLoop] = []

    async def close(loop: asyncio.AbstractEventLoop) -> None:
        await asyncio.sleep(0)
        ended.append(loop)

    async def main() -> asyncio.AbstractEventLoop:
        at_end_of_loop(close)
        at_end_of_loop(close)
        gc.collect()
        assert asyncio.get_running_loop() not in ended
        return asyncio.get_running_loop()

    loops = [asyncio.run(main()), asyncio.run(main())]

    assert ended == loops
    assert all(loop.is_closed() for loop in loops)
