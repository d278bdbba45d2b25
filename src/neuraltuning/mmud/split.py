"""The step `split`: what was kept, tagged and accepted becomes a data set, divided so that nothing leaks.

    neuraltuning mmud split WORK TARGET

An item is taken if the filter kept it, an object is tagged in its answer, and more reviewers accept it than reject it.
Pictures that are nearly the same, and those that are nearly the same as one of them, stay in one split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.cluster.hierarchy import DisjointSet

from neuraltuning.data.convert import check_target, write_store
from neuraltuning.data.near_duplicates import NearPictures, difference_hash
from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.sources.base import Entry, Split
from neuraltuning.errors import InputError
from neuraltuning.mmud.describe import check_card
from neuraltuning.mmud.manifest import FORMAT, Built, Division, Replies, Reviewing
from neuraltuning.mmud.records import TAG, Annotation, ModelReply, Review, untag
from neuraltuning.mmud.review.agreement import agreement
from neuraltuning.mmud.review.answers import check_answer
from neuraltuning.mmud.review.queue import Decisions, last_decisions
from neuraltuning.mmud.workspace import Workspace


def split(
    work: Path,
    target: Path,
    *,
    validation: float,
    test: float,
    seed: int = 0,
    keep_splits: bool = False,
    unreviewed: bool = False,
) -> dict[str, Any]:
    """Writes the data set.

    Args:
        work: the working folder.
        target: the data set's folder; an earlier data set in it is replaced.
        validation, test: shares of the items; each split gets at least one of three or more.
        seed: of the division.
        keep_splits: each item stays in the split that its image came from, instead of being divided anew. Of nearly
            the same pictures in several splits those for training are left out.
        unreviewed: take what nobody reviewed too.

    Returns:
        What is written to the manifest, see `neuraltuning.data.convert.write_store`; what was taken, from which models
        and why other items weren't, stands under "built".

    Raises:
        InputError: no working folder, nothing to be taken, an answer with a wrong tag, or `target` holds other things.
        RunError: the disk is full.
    """
    if validation + test >= 1:
        raise InputError(f"The shares {validation:g} and {test:g} leave nothing to train on; give smaller ones.")
    check_target(target)
    check_card(target)
    workspace = Workspace(work)
    for kept in (workspace.data, work):
        if kept.resolve().is_relative_to(target.resolve()):
            raise InputError(f"{target} would be replaced, and {kept} with it; name another folder.")
    annotations = workspace.annotations.last()
    decisions = last_decisions(workspace.reviews, annotations)
    answers, left_out = _choose(workspace, annotations, decisions, unreviewed)
    if not answers:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "nothing is annotated"
        raise InputError(f"{work} has nothing to be taken: {reasons}.")
    groups = _groups(workspace, answers)
    if keep_splits:
        splits_of = _as_they_were(groups)
    else:
        splits_of = _divided(groups, {"validation": validation, "test": test}, seed)
    taken = [item for item in answers if item in splits_of]
    if len(taken) < len(answers):
        left_out["nearly as in another split"] = len(answers) - len(taken)
    built = Built(
        source=workspace.data.name,
        division=None if keep_splits else Division(validation=validation, test=test, seed=seed),
        taken=len(taken),
        left_out=left_out,
        unreviewed=sum(item not in decisions for item in taken),
        annotate=_replies([annotations[item] for item in taken]),
        filter=_replies(list(workspace.blind_answers.last().values())),
        review=_reviewing(decisions),
    )
    names = _names(taken)
    order = sorted(set(splits_of.values()), key=lambda name: (name != "train", name))
    entries: dict[str, list[Entry]] = {name: [] for name in order}
    for item in taken:
        entry = Entry(item, partial(_built, workspace, item, names[item], annotations[item], answers[item]))
        entries[splits_of[item]].append(entry)
    splits = {name: Split(found, {"images": len(found)}) for name, found in entries.items()}
    return write_store(target, splits, {"format": FORMAT, "built": built.model_dump()}, max_left_out=0.0)


def _choose(
    workspace: Workspace, annotations: Mapping[str, Annotation], decisions: Decisions, unreviewed: bool
) -> tuple[dict[str, str], Counter[str]]:
    """Item -> its answer with tags, in the data set's order; and how many items are left out for which reason."""
    verdicts, taggings = workspace.verdicts.last(), workspace.taggings.last()
    answers: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for item in workspace.ids():
        if item not in annotations:
            continue
        if item not in verdicts:
            left_out["not filtered yet"] += 1
        elif not verdicts[item].kept:
            left_out["rejected by the filter"] += 1
        elif item not in taggings:
            left_out["not tagged yet"] += 1
        elif item not in decisions and not unreviewed:
            left_out["not reviewed yet"] += 1
        else:
            answer = accepted_answer(decisions[item]) if item in decisions else taggings[item].answer
            if answer is None:
                left_out["rejected by reviewers"] += 1
            elif not TAG.search(answer):
                left_out["without a tag"] += 1
            else:
                answers[item] = answer
    return answers, left_out


def accepted_answer(reviews: Mapping[str, Review]) -> str | None:
    """The answer that reviewers agreed on: the one that most of those who accept left, of several the latest.

    Args:
        reviews: reviewer -> the person's last review of the item.

    Returns:
        The answer with its tags; None unless more than half accept.
    """
    accepted = [review for review in reviews.values() if review.decision == "accept"]
    if 2 * len(accepted) <= len(reviews):
        return None
    counts = Counter(review.answer for review in accepted)
    return max(accepted, key=lambda review: (counts[review.answer], review.time)).answer


def _groups(workspace: Workspace, answers: Mapping[str, str]) -> list[list[str]]:
    """The items by their pictures, in order: those that are nearly the same stand together.

    Raises:
        InputError: an answer's tags don't fit its image.
    """
    seen: NearPictures[list[str]] = NearPictures(list)
    alike = DisjointSet(answers)
    for item, answer in track(answers.items(), "Comparing pictures", console=Console(stderr=True)):
        sample = workspace.sample(item)
        try:
            check_answer(answer, len(sample.objects), accepted=True)
        except InputError as error:
            raise InputError(f"{workspace.folder}, {item}: {error}") from error
        code = difference_hash(sample.image)
        for items in seen.near(code):
            alike.merge(items[0], item)
        seen.at(code).append(item)
    groups: dict[str, list[str]] = {}
    for item in answers:
        groups.setdefault(alike[item], []).append(item)
    return list(groups.values())


def _divided(groups: Sequence[list[str]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Item -> its split: groups drawn at random fill those of `shares`, as far as they fit; others are for training."""
    total = sum(map(len, groups))
    room = {name: max(round(share * total), int(share > 0 and total >= 3)) for name, share in shares.items()}
    splits_of: dict[str, str] = {}
    for place in np.random.default_rng(seed).permutation(len(groups)).tolist():
        group = groups[place]
        name = next((name for name, left in room.items() if len(group) <= left), "train")
        if name in room:
            room[name] -= len(group)
        splits_of.update(dict.fromkeys(group, name))
    return splits_of


def _as_they_were(groups: Sequence[list[str]]) -> dict[str, str]:
    """Item -> its image's own split; of a group in several splits only one split's items, train's if there is none."""
    splits_of: dict[str, str] = {}
    for group in groups:
        own = {item: item.partition("/")[0] for item in group}
        kept = min(own.values(), key=lambda name: (name == "train", name))
        splits_of.update({item: name for item, name in own.items() if name == kept})
    return splits_of


def _names(items: Sequence[str]) -> dict[str, str]:
    """Item -> its sample's id, with the image's own split where two have the same."""
    own = {item: item.partition("/")[2] for item in items}
    counts = Counter(own.values())
    return {item: name if counts[name] == 1 else item.replace("/", "-") for item, name in own.items()}


def _built(workspace: Workspace, item: str, name: str, annotation: Annotation, answer: str) -> tuple[Sample, bytes]:
    sample, picture = workspace.read(item)
    text, objects = untag(answer)
    question = QuestionAnswer(annotation.question, text, "knowledge", objects)
    return replace(sample, id=name, captions=(annotation.caption,), reasoning=(question,), questions=()), picture


def _replies(replies: Sequence[ModelReply]) -> Replies:
    return Replies(models=Counter(reply.model for reply in replies), prompts=Counter(reply.prompt for reply in replies))


def _reviewing(decisions: Decisions) -> Reviewing:
    """How many people reviewed, and how far they agree; their names stay in the working folder."""
    found = agreement(decisions)
    return Reviewing(
        reviewers=len(found.decisions),
        items=len(decisions),
        items_of_several=found.together.items,
        equal_decisions=found.together.equal,
        kappa=found.together.kappa,
        equal_tags=found.together.tags,
    )
