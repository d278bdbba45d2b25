"""A small MMUD from images to a data set that trains, with a local server in the place of the large models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from neuraltuning.cli import app
from neuraltuning.data.sample import OBJECT_TAG, QuestionAnswer, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import open_split
from neuraltuning.mmud.annotate import describe_objects
from neuraltuning.mmud.review.app import create_app
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.workspace import Workspace
from neuraltuning.tasks import get_task
from neuraltuning.training.mixture import Mixture
from tests.mmud.chat_server import Asked, ChatServer, Reply, annotated, said
from tests.mmud.data import write_data

SCENES = 24
OPENING = "When everything that can be seen here is compared with the question: "
BLIND = "I would have to see the picture."


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def asked_about(sample: Sample) -> QuestionAnswer:
    """The scene's question with the fewest objects in its answer."""
    return min(sample.reasoning, key=lambda question: len(question.objects))


def large_model(scenes: list[Sample]) -> ChatServer:
    """Tells of each scene what the scene itself knows; one caption is too short, and one reply is no JSON at first."""
    by_objects = {describe_objects(scene): scene for scene in scenes}

    def behave(asked: Asked) -> Reply:
        scene = next((scene for told, scene in by_objects.items() if told in asked.text), None)
        if scene is None:
            return said(BLIND)
        if scene is scenes[1] and asked.again == 0:
            return said("Here is what I see: a picture.")
        question = asked_about(scene)
        caption = "A picture." if scene is scenes[0] else f"The picture shows this in detail: {scene.captions[0]}"
        return annotated(caption, question.question, OPENING + question.answer.replace(f" {OBJECT_TAG}", ""))

    return ChatServer(behave)


def test_an_mmud_is_built_from_images_to_training(tmp_path: Path) -> None:
    data, work, built = tmp_path / "data", tmp_path / "work", tmp_path / "built"
    scenes = list(SceneDataset("train", SCENES, 0))
    write_data(data, train=SCENES)

    with large_model(scenes) as server:
        service = ("--address", server.address, "--model", "large")
        assert f"Annotated {SCENES} of {SCENES} images" in run("mmud", "annotate", data, work, *service)
        assert f"Kept {SCENES - 1} of {SCENES}" in run("mmud", "filter", work, *service)
        assert len(server.asked) == 2 * SCENES  # once more for what was no JSON, and not about what was too short
    run("mmud", "tag", work)

    workspace = Workspace(work)
    queue = ReviewQueue(workspace)
    page = TestClient(create_app(queue), base_url="http://127.0.0.1:8765")
    for place, item in enumerate(queue.items):
        entry = page.get(f"/api/items/{place}", params={"reviewer": "ada"}).json()
        fields = {"reviewer": "ada", "decision": "accept", "answer": entry["proposed"], "reason": ""}
        if place == 0:
            fields |= {"decision": "reject", "reason": "The question is odd."}
        assert page.post(f"/api/items/{place}/decision", json=fields).status_code == 200, item

    run("mmud", "split", work, built, "--validation", "0.2", "--test", "0.2")
    run("mmud", "describe", built)
    run("data", "check", built)
    card = (built / "README.md").read_text(encoding="utf-8")
    assert "large" in card
    assert (built / "distributions.png").stat().st_size > 0
    manifest = json.loads((built / "dataset.json").read_text(encoding="utf-8"))
    assert sum(split["written"] for split in manifest["splits"].values()) == SCENES - 2

    rejected = queue.items[0].partition("/")[2]
    own = {scene.id: scene for scene in scenes}
    found: set[str] = set()
    for split in manifest["splits"]:
        for sample in open_split(str(built), split, 0):
            question = asked_about(own[sample.id])
            (got,) = sample.reasoning
            assert (got.question, got.answer, got.objects) == (
                question.question,
                OPENING + question.answer,
                question.objects,
            )
            assert sample.id not in found
            found.add(sample.id)
    assert found == {scene.id for scene in scenes[1:]} - {rejected}

    train = open_split(str(built), "train", 0)
    mixture = Mixture(train, {"reasoning_segmentation": 1.0}, 0, len(train))
    for place in range(len(train)):
        (example,) = mixture[place]
        assert example.reply.count(OBJECT_TAG) == len(example.targets[OBJECT_TAG]) > 0
    assert get_task("captioning").examples(train[0], np.random.default_rng(0))
