"""Records that training can't use: passed over, listed in the run's folder, and too many of them end the run.

Several processes may read a source at once (ranks, workers of a loader): they share the list by appending lines to one
file, so that what one of them finds counts for all. Knows nothing of what is wrong with a record.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError, RunError

logger = logging.getLogger(__name__)

FILE = "left_out.jsonl"
"""In a run's folder, where records were left out: a line for each, with stage, source, place in it, and reason."""
RESUMED: dict[str, Any] = {"resumed": True}
"""The line between what was found before a run went on, and after."""
FEW = 1000
"""A share is judged over so many records at least, or over all of a smaller source."""


class LeftOut:
    """What one stage leaves out of one source."""

    def __init__(self, path: Path, stage: str, source: str, size: int, share: float) -> None:
        """Reads nothing yet.

        Args:
            path: of the list.
            stage: the stage's name.
            source: the source's name.
            size: the records of the source.
            share: of the records seen so far that may be left out.
        """
        self.path, self.stage, self.source, self.size, self.share = path, stage, source, size, share
        self._reasons: dict[int, str] = {}
        self._read_up_to = 0
        self._half_a_line = False

    def note(self, place: int, reason: str, seen: int) -> None:
        """Leaves a record out.

        Args:
            place: of the record in its source.
            reason: why, as a sentence.
            seen: how many records of the source all processes have taken up to this one.

        Raises:
            InputError: with it, too many records are left out.
            RunError: the list can't be written.
        """
        self._update()
        if place in self._reasons:
            return
        if not self._reasons:
            logger.warning("%s: a record is left out: %s Further ones are listed in %s.", self.stage, reason, self.path)
        record = {"stage": self.stage, "source": self.source, "place": place, "reason": reason}
        _append(self.path, record, "\n" * self._half_a_line)
        self._update()
        judged = min(max(seen, FEW), self.size)
        if len(self._reasons) > self.share * judged:
            first = next(iter(self._reasons.values()))
            raise InputError(
                f"More than {self.share:.1%} of the records of {self.source} can't be used ({len(self._reasons)} of "
                f"the {min(seen, self.size):,} that {self.stage} has seen). The first: {first.removesuffix('.')}. Mend "
                "them (`neuraltuning data check` lists them) or raise data.max_left_out, then go on with --resume."
            )

    def _update(self) -> None:
        """Reads what any process has added."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_up_to)
            added = file.read()
        for record in _records(added[: added.rfind(b"\n") + 1]):
            if record == RESUMED:
                self._reasons.clear()
            elif (record["stage"], record["source"]) == (self.stage, self.source):
                self._reasons.setdefault(record["place"], record["reason"])
        self._read_up_to += added.rfind(b"\n") + 1
        self._half_a_line = not added.endswith(b"\n") and bool(added)


def mark_resumed(path: Path) -> None:
    """Says that a run goes on: what was found before was perhaps mended, and isn't judged any more.

    Raises:
        RunError: the list can't be written.
    """
    if path.is_file():
        _append(path, RESUMED, "\n" * (not path.read_bytes().endswith(b"\n")))


def left_out_summary(path: Path) -> str | None:
    """How many records a run has left out and why, as a sentence; None where it left none out."""
    if not path.is_file():
        return None
    found = (record for record in _records(path.read_bytes()) if record != RESUMED)
    records = {(record["source"], record["place"]): record["reason"] for record in found}
    by_source = Counter(source for source, _ in records)
    counts = ", ".join(f"{count:,} of {source}" for source, count in by_source.items())
    first = next(iter(records.values()), "")
    return f"Records that could not be used were left out: {counts}. The first: {first} All are listed in {path}."


def _append(path: Path, record: dict[str, Any], before: str) -> None:
    line = before + json.dumps(record, ensure_ascii=False) + "\n"
    try:
        with path.open("ab", buffering=0) as file:  # a line in one write, whole between those of others
            file.write(line.encode())
    except OSError as error:
        raise RunError(f"Could not write {path}: {error.strerror or error}.") from error


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a list, without half lines, which killed processes leave."""
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record == RESUMED or (isinstance(record, dict) and record.keys() >= {"stage", "source", "place", "reason"}):
            yield record
