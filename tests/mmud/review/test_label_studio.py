"""Tasks for Label Studio, and what comes back: annotations as its version 1.23 exports them."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.mmud.records import Tagging
from neuraltuning.mmud.review.label_studio_export import export_tasks
from neuraltuning.mmud.review.label_studio_import import import_annotations
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.review.test_brush import decode_brush

Tasks = list[dict[str, Any]]
Region = dict[str, Any]


@pytest.fixture
def tasks(queue: ReviewQueue, tmp_path: Path) -> Tasks:
    """What is exported."""
    export_tasks(queue, tmp_path / "tasks.json")
    loaded: Tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def back(queue: ReviewQueue, tmp_path: Path) -> Callable[[Any], Any]:
    """Imports a value as Label Studio's file and returns what became of it."""

    def run(value: Any) -> Any:
        path = tmp_path / "annotations.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return import_annotations(queue, path)

    return run


def annotated(task: dict[str, Any], edit: Callable[[list[Region]], list[Region]], **fields: Any) -> dict[str, Any]:
    """An exported task as it comes back, its regions edited by a person."""
    regions = [{**region, "origin": "prediction"} for region in task["predictions"][0]["result"]]
    annotation = {
        "id": 7,
        "completed_by": 1,
        "result": edit(regions),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-25T13:28:46.175646Z",
        "updated_at": "2026-11-25T13:28:46.175673Z",
        "lead_time": 7.85,
        "parent_prediction": 16,
        **fields,
    }
    rest = {"drafts": [], "meta": {}, "inner_id": 1, "total_annotations": 1, "project": 2, "comment_authors": []}
    return {"id": 16, "annotations": [annotation], "data": task["data"], **rest}


def choice(decision: str) -> Region:
    value = {"choices": [decision]}
    return {"value": value, "id": "D8cu", "from_name": "decision", "to_name": "answer", "type": "choices"}


def text(name: str, written: str) -> Region:
    return {"value": {"text": [written]}, "id": "cLJ", "from_name": name, "to_name": "answer", "type": "textarea"}


def span(task: dict[str, Any], words: str, *labels: str, **fields: Any) -> Region:
    start = task["data"]["answer"].index(words)
    value = {"start": start, "end": start + len(words), "text": words, "labels": list(labels), **fields}
    return {"value": value, "id": "Hf0h", "from_name": "tags", "to_name": "answer", "type": "labels"}


def without_tags(regions: list[Region]) -> list[Region]:
    return [region for region in regions if region["from_name"] != "tags"]


def test_a_task_holds_picture_texts_masks_and_mentions(tasks: Tasks, queue: ReviewQueue) -> None:
    assert [task["data"]["item"] for task in tasks] == queue.items
    task, sample = tasks[6], queue.sample(queue.items[6])
    head, _, body = task["data"]["image"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == sample.image.size
    assert task["data"]["question"] == queue.annotation(queue.items[6]).question
    assert "5: key; the key" in task["data"]["objects"]
    (prediction,) = task["predictions"]
    masks = [region for region in prediction["result"] if region["from_name"] == "masks"]
    for index, region in enumerate(masks):
        assert region["value"]["brushlabels"] == [f"OBJ-{index + 1}"]
        drawn = decode_brush(region["value"]["rle"]).reshape(region["original_height"], region["original_width"], 4)
        assert np.array_equal(drawn[..., 3] > 0, sample.objects[index].mask)
    mentions = [region["value"] for region in prediction["result"] if region["from_name"] == "tags"]
    answer = task["data"]["answer"]
    assert "<OBJ" not in answer
    assert all(answer[m["start"] : m["end"]] == m["text"] for m in mentions)
    assert [(m["text"], m["labels"]) for m in mentions] == [
        ("The orange tulip", ["OBJ-1"]),
        ("the yellow tulip", ["OBJ-2"]),
        ("the green tulip", ["OBJ-3"]),
        ("the red tulip", ["OBJ-4"]),
    ]


def test_the_configuration_names_what_the_tasks_use(tasks: Tasks, tmp_path: Path) -> None:
    view = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    controls = {element.get("name"): element for element in view.iter() if element.get("toName")}
    objects = {element.get("name"): element for element in view.iter() if element.tag in ("Image", "Text")}
    for task in tasks:
        for region in task["predictions"][0]["result"]:
            control = controls[region["from_name"]]
            assert control.get("toName") == region["to_name"]
            assert region["to_name"] in objects
            allowed = {label.get("value") for label in control}
            assert {*region["value"].get("labels", region["value"].get("brushlabels"))} <= allowed
        shown = re.findall(r"\$(\w+)", ElementTree.tostring(view, encoding="unicode"))
        assert {*shown} <= {*task["data"]}


def test_two_tags_of_one_mention_are_one_region(workspace: Workspace, tmp_path: Path) -> None:
    item = workspace.ids()[4]
    workspace.taggings.append(
        Tagging(id=item, answer="🎉 Both:\n\nthe tools <OBJ-1> <OBJ-2>, the bigger object <OBJ-2>.")
    )
    export_tasks(ReviewQueue(workspace), tmp_path / "tasks.json")
    task = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))[4]
    values = [r["value"] for r in task["predictions"][0]["result"] if r["from_name"] == "tags"]
    assert [(v["start"], v["text"], v["labels"]) for v in values] == [
        (9, "the tools", ["OBJ-1", "OBJ-2"]),
        (20, "the bigger object", ["OBJ-2"]),
    ]


def test_an_unedited_task_comes_back_as_it_was(tasks: Tasks, queue: ReviewQueue, back: Callable[[Any], Any]) -> None:
    outcome = back([annotated(task, lambda regions: [*regions, choice("accept")]) for task in tasks])
    assert (outcome.imported, outcome.masks, outcome.problems) == (7, 0, [])
    for review in queue.workspace.reviews:
        assert review.answer == queue.tagging(review.id).answer
        assert (review.reviewer, review.decision) == ("Label Studio user 1", "accept")
        assert review.time == "2026-11-25T13:28:46.175673+00:00"


def test_what_a_person_did_comes_back(tasks: Tasks, queue: ReviewQueue, back: Callable[[Any], Any]) -> None:
    ada = {"completed_by": {"id": 3, "email": "ada@example.org", "first_name": "Ada", "last_name": ""}}
    outcome = back(
        [
            annotated(
                tasks[6],
                lambda r: [*without_tags(r), span(tasks[6], "red tulip.", "OBJ-4", "OBJ-1"), choice("accept")],
                **ada,
            ),
            annotated(tasks[4], lambda r: [*r, choice("reject"), text("reason", "The mask is wrong.")], **ada),
            annotated(tasks[5], lambda r: [*r, choice("accept"), text("rewritten", "A sun <OBJ-4> shines.")], **ada),
            annotated(tasks[3], lambda r: r, was_cancelled=True),
            {**annotated(tasks[2], lambda r: r), "annotations": []},
            annotated(tasks[1], lambda r: [*r[1:], {"type": "relation"}, choice("accept")], **ada),
        ]
    )
    assert outcome.problems == []
    counts = (outcome.imported, outcome.known, outcome.skipped, outcome.unanswered, outcome.masks)
    assert counts == (4, 0, 1, 1, 1)
    found = {review.id: review for review in queue.workspace.reviews}
    assert {review.reviewer for review in found.values()} == {"ada@example.org"}
    tulips = found[queue.items[6]].answer
    assert tulips == "The orange tulip, the yellow tulip, the green tulip and the red tulip <OBJ-4> <OBJ-1>."
    rejected = found[queue.items[4]]
    assert (rejected.decision, rejected.reason) == ("reject", "The mask is wrong.")
    assert found[queue.items[5]].answer == "A sun <OBJ-4> shines."


def test_importing_again_changes_nothing_and_a_newer_decision_stays(
    tasks: Tasks, queue: ReviewQueue, back: Callable[[Any], Any]
) -> None:
    old = annotated(tasks[0], lambda regions: [*regions, choice("accept")])
    newer = annotated(tasks[0], lambda r: [*r, choice("reject"), text("reason", "No.")], updated_at="2026-11-26T08:00Z")
    assert back([newer, old]).imported == 2
    assert queue.decisions()[queue.items[0]]["Label Studio user 1"].decision == "reject"
    outcome = back([newer, old])
    assert (outcome.imported, outcome.known) == (0, 2)
    assert len(list(queue.workspace.reviews)) == 2


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (lambda t: [span(t, "orange tulip", "OBJ-1"), span(t, "tulip, the", "OBJ-2")], "'tulip, the' overlap"),
        (lambda t: [span(t, "orange tulip", "OBJ-9")], "<OBJ-9> means no object; the image has 5"),
        (lambda t: [span(t, "orange tulip", "key")], "has the label 'key'"),
        (lambda t: [span(t, "orange tulip")], "'orange tulip' has no label"),
        (lambda t: [span(t, "orange tul", "OBJ-1")], "stands inside of a word"),
        (lambda t: [span(t, "orange tulip", "OBJ-1", text="the key")], "text is 'the key', but there stands"),
        (lambda t: [span(t, "orange tulip", "OBJ-1", end=9999)], "goes from 4 to 9999"),
        (lambda t: [span(t, "orange tulip", "OBJ-1", start="x")], r"tags's start: input should be a valid integer"),
        (lambda t: [], "has no tag; put one behind a mention, or reject it"),
    ],
)
def test_mentions_that_can_not_be_used_are_named(
    tasks: Tasks, back: Callable[[Any], Any], regions: Callable[[dict[str, Any]], list[Region]], message: str
) -> None:
    bad = annotated(tasks[6], lambda r: [*without_tags(r), *regions(tasks[6]), choice("accept")])
    good = annotated(tasks[0], lambda r: [*r, choice("accept")])
    outcome = back([bad, good])
    assert outcome.imported == 1
    (problem,) = outcome.problems
    place = r"annotations\.json, task 1 \(train/scenes-train-000006\), annotation of Label Studio user 1: "
    assert re.search(place, problem)
    assert re.search(message, problem)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], "it has no decision"),
        ([choice("maybe")], "the decision is 'maybe'; choose accept or reject"),
        ([choice("reject")], "a rejection needs a reason"),
        ([choice("accept"), text("rewritten", "The cat <OBJ1>.")], "a tag is written <OBJ-1>"),
        ([{**choice("accept"), "value": {}}], "the decision's choices: field required"),
    ],
)
def test_decisions_that_can_not_be_used_are_named(
    tasks: Tasks, back: Callable[[Any], Any], regions: list[Region], message: str
) -> None:
    outcome = back([annotated(tasks[6], lambda r: [*r, *regions])])
    assert outcome.imported == 0
    assert message in outcome.problems[0]


def test_tasks_of_another_folder_are_named(tasks: Tasks, back: Callable[[Any], Any]) -> None:
    task = annotated(tasks[0], lambda regions: [*regions, choice("accept")])
    outcome = back([{**task, "data": {**task["data"], "item": "train/other"}}])
    assert "task 1 (train/other)" in outcome.problems[0]
    assert "no such item to review; it is a task of another working folder" in outcome.problems[0]
    outcome = back([{**task, "data": {**task["data"], "answer": "Another answer."}}])
    assert "its answer is not the one of" in outcome.problems[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", r"annotations\.json is no JSON: EOF"),
        ("", "is no JSON"),
        ({"tasks": []}, "input should be a valid array.*as JSON"),
        ([{"id": 1, "image": "x", "decision": "accept"}], r"task 1, data: field required.*not JSON-MIN"),
        ([{"data": {"item": "a", "answer": "b"}}], "task 1, annotations: field required"),
        ([{"data": {"text": "b"}, "annotations": []}], r"task 1, data\.item: field required"),
        ([{"data": {"item": "a", "answer": "b"}, "annotations": [{"id": 1}]}], r"annotations\.1\.result: field req"),
        ([3], "task 1, it: input should be"),
    ],
)
def test_files_of_another_kind_are_refused(back: Callable[[Any], Any], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        back(value)


def test_a_missing_file_and_a_wrong_name_are_refused(queue: ReviewQueue, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json can't be read: No such file"):
        import_annotations(queue, tmp_path / "none.json")
    with pytest.raises(InputError, match=r"must end in \.json"):
        export_tasks(queue, tmp_path / "tasks.xml")


def test_a_tag_that_closes_no_mention_stops_the_export(workspace: Workspace, tmp_path: Path) -> None:
    workspace.taggings.append(Tagging(id=workspace.ids()[0], answer="<OBJ-1> The magnet."))
    with pytest.raises(InputError, match="its tag <OBJ-1> stands behind no word"):
        export_tasks(ReviewQueue(workspace), tmp_path / "tasks.json")
    assert not (tmp_path / "tasks.json").exists()
