"""What people did in Label Studio, as `Review` records: its export named "JSON".

    neuraltuning mmud review-import WORK annotations.json

Each annotation stands for itself: one that can't be used is named and the others are imported. Importing a file again
changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from neuraltuning.errors import InputError
from neuraltuning.mmud.review.answers import PlacedTag, join_tags, split_tags
from neuraltuning.mmud.review.label_studio_export import DECISION, MASKS, REASON, REWRITTEN, TAGS
from neuraltuning.mmud.review.queue import ReviewQueue

MAX_BYTES = 2**30
"""Largest export that is read; Label Studio exports parts of a project by a filter."""

_LABEL = re.compile(r"OBJ-([1-9]\d{0,2})")


class _Region(BaseModel):
    """A part of an annotation: what a control of the configuration made; a relation has no name."""

    from_name: str = ""
    value: dict[str, Any] = {}


class _User(BaseModel):
    id: int | None = None
    email: str = ""


class _Annotation(BaseModel):
    result: list[_Region]
    completed_by: int | _User | None = None
    was_cancelled: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def reviewer(self) -> str:
        user = self.completed_by if isinstance(self.completed_by, _User) else _User(id=self.completed_by)
        return user.email or f"Label Studio user {user.id or '?'}"

    @property
    def time(self) -> datetime:
        time = self.updated_at or self.created_at or datetime.now(timezone.utc)
        return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


class _Data(BaseModel):
    item: str
    answer: str


class _Task(BaseModel):
    data: _Data
    annotations: list[_Annotation]


class _Mention(BaseModel):
    start: int
    end: int
    labels: list[str]
    text: str | None = None


class _Choice(BaseModel):
    choices: list[str]


class _Text(BaseModel):
    text: str | list[str]


class _Judgement(NamedTuple):
    """A person's decision, answer and reason, see `Review`."""

    decision: Literal["accept", "reject"]
    answer: str
    reason: str


class _Found(NamedTuple):
    """An annotation that can be used: its time, its place for messages, the item, the person, what the person says."""

    time: datetime
    where: str
    item: str
    reviewer: str
    judgement: _Judgement


@dataclass
class Outcome:
    """What became of a file.

    Attributes:
        imported: reviews that were journalled.
        known: annotations that were imported before, or are older than the person's last decision about the item.
        skipped: annotations that the person cancelled ("Skip").
        unanswered: tasks that nobody annotated.
        masks: annotations with a mask drawn or deleted, which is not imported.
        problems: one sentence for each annotation or task that can't be used.
    """

    imported: int = 0
    known: int = 0
    skipped: int = 0
    unanswered: int = 0
    masks: int = 0
    problems: list[str] = field(default_factory=list)


def import_annotations(queue: ReviewQueue, path: Path) -> Outcome:
    """Journals the reviews of an export.

    Raises:
        InputError: the file can't be read, or is no such export; nothing was imported.
        RunError: the journal can't be written.
    """
    outcome = Outcome()
    found: list[_Found] = []
    known = set(queue.items)
    for number, task in enumerate(_read(path), start=1):
        item = task.data.item
        where = f"{path}, task {number} ({item})"
        if item not in known:
            outcome.problems.append(
                f"{where}: {queue.workspace.folder} has no such item to review; it is a task of another working folder."
            )
            continue
        text = split_tags(queue.tagging(item).answer)[0]
        if task.data.answer != text:
            outcome.problems.append(
                f"{where}: its answer is not the one of {queue.workspace.folder}; it was exported from another working "
                "folder or before the answers were written anew."
            )
            continue
        outcome.unanswered += not task.annotations
        for annotation in task.annotations:
            if annotation.was_cancelled:
                outcome.skipped += 1
                continue
            at = f"{where}, annotation of {annotation.reviewer}"
            try:
                judgement = _read_annotation(annotation, text)
            except InputError as error:
                outcome.problems.append(f"{at}: {error}")
                continue
            masks = sum(region.from_name == MASKS for region in annotation.result)
            outcome.masks += masks != len(queue.sample(item).objects)
            found.append(_Found(annotation.time, at, item, annotation.reviewer, judgement))
    before = queue.decisions()
    for time, at, item, reviewer, judgement in sorted(found):
        last = before.get(item, {}).get(reviewer)
        if last is not None and last.time and time <= datetime.fromisoformat(last.time):
            outcome.known += 1
            continue
        try:
            queue.decide(item, reviewer, *judgement, time)
        except InputError as error:
            outcome.problems.append(f"{at}: {error}")
        else:
            outcome.imported += 1
    return outcome


def _read(path: Path) -> list[_Task]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 2**30} GiB; export the project in parts.")
        return TypeAdapter(list[_Task]).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise InputError(f"{path} is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}.") from error
        place = [part + 1 if isinstance(part, int) else part for part in first["loc"]]
        where = ", ".join(["", f"task {place[0]}", ".".join(map(str, place[1:])) or "it"]) if place else ""
        raise InputError(
            f"{path}{where}: {first['msg'].lower()}; export what `review-export` wrote from Label Studio as JSON (not "
            "JSON-MIN or CSV)."
        ) from error


def _read_annotation(annotation: _Annotation, text: str) -> _Judgement:
    """What a person says.

    Args:
        annotation: one that wasn't cancelled.
        text: of the task's answer, without tags.

    Raises:
        InputError: it can't be used; the message says why, without its place.
    """
    decision = reason = rewritten = ""
    mentions = []
    try:
        for region in annotation.result:
            if region.from_name == TAGS:
                mentions.append(_Mention.model_validate(region.value))
            elif region.from_name == DECISION:
                decision = " and ".join(_Choice.model_validate(region.value).choices)
            elif region.from_name in (REASON, REWRITTEN):
                written = _Text.model_validate(region.value).text
                joined = written if isinstance(written, str) else "\n".join(written)
                reason, rewritten = (joined, rewritten) if region.from_name == REASON else (reason, joined)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"the {region.from_name}'s {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}."
        ) from error
    answer = rewritten.strip() or join_tags(text, _placed(mentions, text))
    if decision == "accept":
        return _Judgement("accept", answer, "")
    if decision == "reject":
        return _Judgement("reject", answer, reason)
    raise InputError(f"the decision is {decision!r}; choose accept or reject." if decision else "it has no decision.")


def _placed(mentions: list[_Mention], text: str) -> list[PlacedTag]:
    tags: list[PlacedTag] = []
    end = 0
    before = ""
    for mention in sorted(mentions, key=lambda mention: (mention.start, mention.end)):
        if not 0 <= mention.start < mention.end <= len(text):
            raise InputError(
                f"a mention goes from {mention.start} to {mention.end}; the answer has {len(text)} characters."
            )
        marked = text[mention.start : mention.end]
        if mention.text is not None and mention.text.strip() != marked.strip():
            raise InputError(f"a mention's text is {mention.text!r}, but there stands {marked!r}.")
        if mention.start < end and marked != before:
            raise InputError(f"the mentions {before!r} and {marked!r} overlap.")
        if not mention.labels:
            raise InputError(f"the mention {marked!r} has no label.")
        at = mention.start + len(marked.rstrip(" \n\t.,;:!?"))
        for label in mention.labels:
            match = _LABEL.fullmatch(label)
            if match is None:
                raise InputError(f"the mention {marked!r} has the label {label!r}, which is none of OBJ-1, OBJ-2, ...")
            tags.append(PlacedTag(at, int(match[1])))
        end, before = mention.end, marked
    return tags
