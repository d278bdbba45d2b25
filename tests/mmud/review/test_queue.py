from __future__ import annotations

import pytest

from neuraltuning.errors import InputError
from neuraltuning.mmud.records import Annotation, Rejection, Review, Verdict
from neuraltuning.mmud.review.queue import ReviewQueue, last_decisions
from neuraltuning.mmud.workspace import Workspace


def test_what_was_tagged_and_kept_is_up_for_review(workspace: Workspace) -> None:
    items = workspace.ids()
    rejected = Rejection(rule="length", detail="3 words")
    workspace.verdicts.append(Verdict(id=items[2], rejections=(rejected,)))
    assert ReviewQueue(workspace).items == [*items[:2], *items[3:]]


def test_nothing_to_review_is_said(workspace: Workspace) -> None:
    workspace.taggings.path.unlink()
    with pytest.raises(InputError, match="nothing to review; tag first: neuraltuning mmud tag"):
        ReviewQueue(workspace)


def test_a_decision_is_journalled_and_the_last_one_counts(queue: ReviewQueue) -> None:
    item = queue.items[0]
    answer = queue.tagging(item).answer
    queue.decide(item, " ada ", "reject", answer, " The mask is wrong. ")
    queue.decide(item, "ada", "accept", answer + "\n", "left over")
    queue.decide(item, "bob", "reject", "", "nonsense")
    written = list(queue.workspace.reviews)
    assert [(r.reviewer, r.decision, r.reason) for r in written] == [
        ("ada", "reject", "The mask is wrong."),
        ("ada", "accept", ""),
        ("bob", "reject", "nonsense"),
    ]
    assert written[1].answer == answer
    assert written[0].time < written[1].time
    annotations = queue.workspace.annotations.last()
    assert last_decisions(written, annotations)[item]["ada"] == written[1] == queue.decision(item, "ada")
    assert queue.decision(item, "cyd") is None


def test_what_another_process_writes_is_seen(queue: ReviewQueue, workspace: Workspace) -> None:
    assert queue.decisions() == {}
    other = ReviewQueue(Workspace(workspace.folder))
    other.decide(other.items[1], "bob", "accept", other.tagging(other.items[1]).answer)
    assert queue.decisions()[queue.items[1]]["bob"].decision == "accept"


def test_reviews_of_items_that_are_gone_do_not_count(queue: ReviewQueue) -> None:
    queue.workspace.reviews.append(Review(id="train/gone", reviewer="ada", decision="accept", answer="x"))
    assert queue.decisions() == {}


def test_a_review_of_another_question_does_not_count(queue: ReviewQueue, workspace: Workspace) -> None:
    item = queue.items[0]
    queue.decide(item, "ada", "accept", queue.tagging(item).answer)
    kept = workspace.annotations.last()[item].model_dump()
    workspace.annotations.append(Annotation(**{**kept, "question": "What is this?"}))
    assert queue.decision(item, "ada") is not None
    assert ReviewQueue(workspace).decision(item, "ada") is None


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61, "\u202eada"])
def test_a_name_that_can_not_be_read_is_refused(queue: ReviewQueue, name: str) -> None:
    with pytest.raises(InputError, match="A reviewer's name"):
        queue.decide(queue.items[0], name, "accept", queue.tagging(queue.items[0]).answer)
    assert not queue.workspace.reviews.path.exists()


def test_a_rejection_needs_a_reason(queue: ReviewQueue) -> None:
    for reason in ("", " ", "x" * 1001):
        with pytest.raises(InputError, match="needs a reason"):
            queue.decide(queue.items[0], "ada", "reject", "x", reason)


def test_an_item_without_annotation_waits(workspace: Workspace) -> None:
    first = workspace.ids()[0]
    kept: list[Annotation] = [record for record in workspace.annotations if record.id != first]
    workspace.annotations.path.unlink()
    for record in kept:
        workspace.annotations.append(record)
    assert first not in ReviewQueue(workspace).items
