"""Drawing beside the engine's steps: a picture takes seconds, and running replies are not to wait for it.

Knows nothing of requests or of what is drawn.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neuraltuning.serving.model_worker import Drawing

MOST = 4
"""Pictures that are drawn at once; more would let the first of them wait for long."""
LONGEST = 20.0
"""Seconds that the end waits for a drawing."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What became of a drawing: its value, or the error."""

    drawing: Drawing
    value: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Gives it to the request; in the engine's thread."""
        if self.error is None:
            self.drawing.answering.found(self.drawing.occurrence, self.value)
        else:
            self.drawing.answering.fail(self.error)


class Drawer:
    """A thread that draws what it is given, several pictures at once where several wait."""

    def __init__(self, on_drawn: Callable[[Drawn], None]) -> None:
        """Starts with the first drawing.

        Args:
            on_drawn: called from the drawer's thread.
        """
        self._on_drawn = on_drawn
        self._waiting: queue.SimpleQueue[Drawing | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, drawing: Drawing) -> None:
        """Takes a drawing; from the engine's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="drawer", daemon=True)
            self._thread.start()
        self._waiting.put(drawing)

    def close(self) -> None:
        """Ends the thread, which first draws to the end what it has begun.

        That is waited for: a thread of torch's that still runs when the interpreter ends makes the process abort.
        """
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(LONGEST)

    def _work(self) -> None:
        ended = False
        while not ended:
            drawings = [self._waiting.get()]
            while not self._waiting.empty():
                drawings.append(self._waiting.get())
            ended = None in drawings
            wanted = [d for d in drawings if d is not None and not (d.answering.cancelled or d.answering.over)]
            for group in _groups(wanted):
                self._draw(group)

    def _draw(self, group: Sequence[Drawing]) -> None:
        try:
            drawn = [Drawn(d, value) for d, value in zip(group, Drawing.decode_together(group), strict=True)]
        except Exception as error:
            drawn = [Drawn(d, error=error) for d in group]
        for one in drawn:
            self._on_drawn(one)


def _groups(drawings: Sequence[Drawing]) -> list[list[Drawing]]:
    """Those that are decoded together: of one decoder and without an image, at most `MOST`."""
    groups: list[list[Drawing]] = []
    for one in drawings:
        for group in groups:
            if group[0].decoder is one.decoder and one.features is group[0].features is None and len(group) < MOST:
                group.append(one)
                break
        else:
            groups.append([one])
    return groups
