"""Giving a reply's text out while it grows: only what no further token changes, and nothing of a stop text.

Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

from neuraltuning.prompt_format import PromptFormat

UNFINISHED = "\ufffd"
"""What a tokenizer decodes to where the bytes of a character are not complete."""


class TextStream:
    """The text of one reply, token by token.

    A token may hold half a character, or the space that belongs before a task token; the names of task tokens may be
    spelt by ordinary tokens. So a piece is held back until it can't change any more.

    Attributes:
        text: the text so far that nothing changes any more.
        stopped: whether a stop text was reached; `text` ends before it.
    """

    def __init__(self, text_format: PromptFormat, stop: Sequence[str] = ()) -> None:
        """Begins with no text.

        Args:
            text_format: of the model that writes the reply.
            stop: texts that end the reply, none of them empty. They are looked for in what the model wrote as well as
                in what is given out, where line breaks are spaces.
        """
        self.format = text_format
        self.stop = tuple(stop)
        self.text = ""
        self.stopped = False

    def grow(self, ids: Sequence[int], *, last: bool = False) -> str:
        """The next piece.

        Args:
            ids: all of the reply's tokens so far.
            last: nothing follows, so nothing is held back.

        Returns:
            What is new in `text`; nothing once a stop text was reached.
        """
        if self.stopped:
            return ""
        raw = self.format.raw_text(ids).lstrip()
        spelt, stopped = self._until_stop(raw, () if last else self.stop)
        if not stopped and not last:
            spelt = spelt.rstrip(UNFINISHED)
        text, stopped_here = self._until_stop(self.format.tidy(spelt), () if last else self.stop)
        if not (stopped or stopped_here or last):
            text = text[: len(text) - _overlap(text, self.format.task_tokens)]
        if stopped or stopped_here:
            self.stopped = True
        # never shorter than what went out
        piece = text[len(self.text) :]
        self.text += piece
        return piece

    def has(self, ids: Sequence[int]) -> bool:
        """Whether the text reaches to the end of a reply's first tokens `ids`."""
        return len(self.format.text(ids)) <= len(self.text)

    def _until_stop(self, text: str, partly: Sequence[str]) -> tuple[str, bool]:
        """The text before the first stop text, and whether there is one; without one, before what may become one."""
        places = [place for place in (text.find(stop) for stop in self.stop) if place >= 0]
        if places:
            return text[: min(places)], True
        return text[: len(text) - _overlap(text, partly)], False


def _overlap(text: str, names: Sequence[str]) -> int:
    """The length of the longest end of `text` that one of `names` begins with, but is not."""
    return max(
        (n for name in names for n in range(1, min(len(name), len(text) + 1)) if text.endswith(name[:n])),
        default=0,
    )
