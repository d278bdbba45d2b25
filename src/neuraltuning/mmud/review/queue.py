"""What is up for review in a working folder, and what each person decided. Knows nothing of pages or formats."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Literal

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.mmud.records import Annotation, Review, Tagging
from neuraltuning.mmud.review.answers import check_answer
from neuraltuning.mmud.workspace import Workspace

Decisions = dict[str, dict[str, Review]]
"""Item -> reviewer -> the person's last review of it."""

MAX_NAME = 60
MAX_REASON = 1_000
KEPT_SAMPLES = 8
"""Samples in memory: the one that is looked at, and those of other people."""


def last_decisions(reviews: Iterable[Review], annotations: Mapping[str, Annotation]) -> Decisions:
    """Item -> reviewer -> the last review; a journal's earlier lines were thought better of.

    Args:
        reviews: in the order of the journal.
        annotations: item -> what is reviewed; reviews of other items, or of another question, don't count.
    """
    found: Decisions = {}
    for review in reviews:
        if review.id in annotations and review.question in ("", annotations[review.id].question):
            found.setdefault(review.id, {})[review.reviewer] = review
    return found


def reviewer_name(name: str) -> str:
    """A person's name without the spaces around it.

    Raises:
        InputError: it is empty, too long, or holds characters that can't be seen.
    """
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"A reviewer's name has 1 to {MAX_NAME} visible characters, not {name[: MAX_NAME + 1]!r}.")
    return name


class ReviewQueue:
    """The tagged items that the filter kept, in the data set's order. Safe for several threads.

    Attributes:
        items: their ids.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Reads what the steps before wrote.

        Raises:
            InputError: nothing was tagged, or a journal is damaged.
        """
        self.workspace = workspace
        self._annotations = workspace.annotations.last()
        self._taggings = workspace.taggings.last()
        verdicts = workspace.verdicts.last()
        kept = {item for item in self._taggings if item not in verdicts or verdicts[item].kept}
        self.items = [item for item in workspace.ids() if item in kept and item in self._annotations]
        if not self.items:
            raise InputError(
                f"{workspace.folder} has nothing to review; tag first: neuraltuning mmud tag {workspace.folder}."
            )
        self._lock = threading.Lock()
        self._samples: OrderedDict[str, Sample] = OrderedDict()
        self._decisions: Decisions = {}
        self._journal_size = -1

    def annotation(self, item: str) -> Annotation:
        """Question, answer and caption of an item."""
        return self._annotations[item]

    def tagging(self, item: str) -> Tagging:
        """The answer as it was tagged."""
        return self._taggings[item]

    def sample(self, item: str) -> Sample:
        """Image and objects of an item.

        Raises:
            InputError: the data set is damaged, or it is another one now.
        """
        with self._lock:
            if item not in self._samples:
                self._samples[item] = self.workspace.sample(item)
                while len(self._samples) > KEPT_SAMPLES:
                    self._samples.popitem(last=False)
            self._samples.move_to_end(item)
            return self._samples[item]

    def decisions(self) -> Decisions:
        """Of the queue's items, as the journal has them now: another process may write to it too."""
        path = self.workspace.reviews.path
        with self._lock:
            size = path.stat().st_size if path.is_file() else 0
            if size != self._journal_size:
                shown = {item: self._annotations[item] for item in self.items}
                self._decisions = last_decisions(self.workspace.reviews, shown)
                self._journal_size = size
            return self._decisions

    def decision(self, item: str, reviewer: str) -> Review | None:
        """What a person decided last about an item."""
        return self.decisions().get(item, {}).get(reviewer)

    def decide(
        self,
        item: str,
        reviewer: str,
        decision: Literal["accept", "reject"],
        answer: str,
        reason: str = "",
        time: datetime | None = None,
    ) -> Review:
        """Journals a decision; it is on the disk when this returns.

        Args:
            item, reviewer, decision, answer, reason: see `Review`.
            time: of the decision; now by default.

        Raises:
            InputError: the name, the answer or the reason can't be used; nothing was written.
            RunError: the journal can't be written.
        """
        check_answer(answer, len(self.sample(item).objects), accepted=decision == "accept")
        reason = reason.strip() if decision == "reject" else ""
        if decision == "reject" and not 1 <= len(reason) <= MAX_REASON:
            raise InputError(f"a rejection needs a reason of at most {MAX_REASON:,} characters.")
        when = (time or datetime.now(timezone.utc)).astimezone(timezone.utc)
        review = Review(
            id=item,
            reviewer=reviewer_name(reviewer),
            decision=decision,
            answer=answer.strip(),
            reason=reason,
            time=when.isoformat(timespec="microseconds"),
            question=self.annotation(item).question,
        )
        self.workspace.reviews.append(review)
        return review
