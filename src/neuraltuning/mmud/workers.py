"""Several pieces of work at once that Ctrl-C ends without losing what is on its way. Knows nothing of the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from types import FrameType
from typing import TypeVar

from neuraltuning.errors import RunError

IN_A_ROW = 20
"""So many failures one after another end a run."""

T = TypeVar("T")


class Stopped(Exception):
    """The run ends while something waits for its turn."""


class Stop:
    """Tells everything in a run that nothing more is to be begun."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ends the run; to be called in the event loop's thread."""
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises `Stopped` if the run ends."""
        if self.is_set():
            raise Stopped

    async def sleep(self, seconds: float) -> None:
        """Waits.

        Raises:
            Stopped: the run ends before the time is over.
        """
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self.check()


class Streak:
    """Ends a run in which item after item fails: what fails for so many fails for all."""

    def __init__(self) -> None:
        self._length = 0

    def note(self, item: str, problem: str | None) -> None:
        """Takes in what went wrong with an item, or None.

        Raises:
            RunError: `IN_A_ROW` items failed one after another.
        """
        self._length = self._length + 1 if problem else 0
        if self._length >= IN_A_ROW:
            raise RunError(
                f"{self._length} items in a row failed, the last, {item}, because of this: {problem}. "
                "What was answered is kept; mend it and run the same command again."
            )


async def work(items: Iterable[T], handle: Callable[[T], Awaitable[None]], workers: int, stop: Stop) -> None:
    """Handles each item, `workers` at once.

    After an error or a stop no further item is begun, but what is on its way is finished; then the first error is
    raised. An item whose handling raises `Stopped` was not finished.
    """
    waiting = iter(items)
    errors: list[Exception] = []

    async def worker() -> None:
        for item in waiting:
            if stop.is_set():
                return
            try:
                await handle(item)
            except Stopped:
                return
            except Exception as error:
                errors.append(error)
                stop.set()

    await asyncio.gather(*(worker() for _ in range(workers)))
    if errors:
        raise errors[0]


def run(main: Callable[[Stop], Awaitable[None]]) -> None:
    """Runs a coroutine function to its end. The first Ctrl-C sets its `Stop`, a second one drops everything.

    Raises:
        KeyboardInterrupt: after either.
    """

    async def interruptible() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        interrupted = False

        def note(number: int, frame: FrameType | None) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            loop.call_soon_threadsafe(stop.set)
            print("\nWaiting for what is on its way; press Ctrl-C again to drop it.", file=sys.stderr, flush=True)

        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, note) if in_main_thread else None
        try:
            await main(stop)
        finally:
            if in_main_thread:
                signal.signal(signal.SIGINT, before)
        if interrupted:
            raise KeyboardInterrupt

    asyncio.run(interruptible())
