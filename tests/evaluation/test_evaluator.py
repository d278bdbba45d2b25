"""Evaluation of a tiny run: the form of metrics.json, the baselines, the same items for every model, the showcase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.configuration import dump_settings, validate_settings
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.errors import InputError
from neuraltuning.evaluation.evaluator import Runner, collect_examples, evaluate, score_split
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.evaluation.metrics.image_features import FeatureExtractor
from neuraltuning.evaluation.metrics.segmentation import SegmentationMetric
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.reply import Reply, assemble_reply
from neuraltuning.report.page import write_report
from neuraltuning.report.run_files import read_run
from neuraltuning.tasks import Example, ScoringResources, get_task
from neuraltuning.training.settings import RunSettings
from tests.tiny_models import lively, model_values, sample

TASKS = (
    "referring_segmentation",
    "reasoning_segmentation",
    "captioning",
    "visual_question_answering",
    "text_to_image",
)


MAX_NEW_TOKENS = 8


@pytest.fixture(scope="module", autouse=True)
def _short_replies() -> Iterator[None]:
    """The random models never end a reply by themselves, and Java starts slowly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_tools, "why_missing", lambda: "The captions' own tests cover it.")
        for name in TASKS:
            patch.setattr(type(get_task(name)), "max_new_tokens", MAX_NEW_TOKENS)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def run_settings(folder: Path, **evaluation: Any) -> RunSettings:
    values = {
        "model": model_values(folder),
        "mixture": dict.fromkeys(TASKS, 1.0),
        "tuning": {"steps": 1, "batch_size": 1, "learning_rates": {"tuner": 1e-3}},
        "evaluation": {
            "samples": {"test": 17, "test_wordings": 3},
            "examples_per_sample": {"visual_question_answering": 2},
            "batch_size": 9,
            "showcase": 4,
            **evaluation,
        },
    }
    return validate_settings(RunSettings, values, "the test")


def write_run(folder: Path, settings: RunSettings, seed: int) -> Path:
    """What `tune` leaves, without having tuned."""
    lively(MultitaskModel.build(settings.model), seed).save_pretrained(folder / "model")
    (folder / "configuration.yaml").write_text(dump_settings(settings))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    path = write_run(folder / "run", run_settings(folder), seed=5)
    assert evaluate(path, None, None, path) == path / "metrics.json"
    return path


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return loaded


def test_metrics_have_the_stated_form(metrics: dict[str, Any]) -> None:
    assert {"splits", "seconds", "config"} <= set(metrics)
    assert set(metrics["splits"]) == {"test", "test_wordings"}
    assert metrics["seconds"] > 0
    assert validate_settings(RunSettings, metrics["config"], "metrics.json").mixture == dict.fromkeys(TASKS, 1.0)
    for tasks in metrics["splits"].values():
        assert set(tasks) == set(TASKS)
    test = metrics["splits"]["test"]
    for name in ("referring_segmentation", "reasoning_segmentation"):
        scores = test[name]
        for group in (scores, scores["teacher_forced"], *scores["baselines"].values()):
            assert 0.0 <= group["oiou"] <= 1.0
            assert 0.0 <= group["miou"] <= 1.0
            assert 0.0 <= group["prec@0.5"] <= 1.0
            assert group["n"] == scores["n"] > 10
        assert set(scores["baselines"]) == {"all_objects", "blank_image", "untuned"}
    for name in ("captioning", "visual_question_answering"):
        assert set(test[name]["baselines"]) == {"blank_image", "untuned"}
        assert "teacher_forced" not in test[name]
    assert 0.0 <= test["captioning"]["object_f1"] <= 1.0
    assert test["visual_question_answering"]["n"] == 34
    assert set(test["text_to_image"]["baselines"]) == {"untuned"}
    assert "among_16" in test["text_to_image"]["teacher_forced"]
    assert any(key.startswith("fid_") for key in test["text_to_image"]["teacher_forced"])


def test_the_numbers_of_parameters_are_told(metrics: dict[str, Any], run: Path) -> None:
    model = MultitaskModel.from_pretrained(run)
    trainable = sum(p.numel() for p in model.trainable_parameters().values())
    assert metrics["model"]["trainable_parameters"] == trainable
    assert metrics["model"]["frozen_parameters"] == sum(p.numel() for p in model.parameters()) - trainable


def test_baselines_that_cost_a_pass_are_taken_where_asked(metrics: dict[str, Any]) -> None:
    wordings = metrics["splits"]["test_wordings"]["referring_segmentation"]
    assert set(wordings["baselines"]) == {"all_objects"}
    assert "teacher_forced" not in wordings


def test_an_untuned_model_segments_nothing(metrics: dict[str, Any]) -> None:
    scores = metrics["splits"]["test"]["referring_segmentation"]
    assert scores["baselines"]["untuned"]["oiou"] == 0.0
    assert scores["baselines"]["untuned"]["mask_count_accuracy"] == 0.0
    assert 0.1 < scores["baselines"]["all_objects"]["oiou"] < 0.8


def test_scores_are_those_of_free_replies(metrics: dict[str, Any], run: Path, folder: Path) -> None:
    """Asked again through the public interface, on the same items, with the metric alone."""
    settings = run_settings(folder)
    examples = collect_examples(settings, SceneDataset("test", 17, settings.data.seed), "test")[
        "referring_segmentation"
    ]
    model = MultitaskModel.from_pretrained(run)
    free, forced = SegmentationMetric(), SegmentationMetric()
    for example in examples:
        free.update(example, model.reply(example.image, example.prompt, max_new_tokens=MAX_NEW_TOKENS))
        forced.update(example, model.teacher_forced([example])[0])
    scores = metrics["splits"]["test"]["referring_segmentation"]
    assert scores["oiou"] == pytest.approx(free.compute()["oiou"], abs=1e-4)
    assert scores["n_masks"] == free.compute()["n_masks"]
    assert scores["teacher_forced"]["n_masks"] == sum(len(e.targets["<OBJ>"]) for e in examples) != scores["n_masks"]
    assert scores["teacher_forced"]["oiou"] == pytest.approx(forced.compute()["oiou"], abs=1e-4)


def test_every_model_is_asked_the_same(folder: Path, run: Path) -> None:
    settings = run_settings(folder)
    other = write_run(folder / "other", settings.model_copy(update={"seed": 9}), seed=6)
    evaluate(other, ["test"], 4, other)
    for task in TASKS:
        asked = []
        for one in (run, other):
            records = [json.loads(path.read_text()) for path in (one / "showcase" / "test" / task).glob("*.json")]
            asked.append({r["id"]: (r["prompt"], r["reference"], r["target_masks"]) for r in records})
        common = asked[0].keys() & asked[1].keys()
        assert common
        assert all(asked[0][key] == asked[1][key] for key in common)
    assert json.loads((other / "metrics.json").read_text())["splits"].keys() == {"test"}


def test_items_depend_on_the_sample_alone(folder: Path) -> None:
    """Not on how many samples there are, on the order of tasks, or on the run's seed."""
    settings = run_settings(folder)
    samples = list(SceneDataset("test", 6))
    few, many = (collect_examples(settings, s, "test") for s in (samples[3:4], samples))
    turned = settings.model_copy(update={"mixture": dict(reversed(settings.mixture.items())), "seed": 4})
    for name in TASKS:
        ids = {e.id: (e.prompt, e.reply) for e in many[name]}
        assert all(ids[e.id] == (e.prompt, e.reply) for e in few[name])
        again = collect_examples(turned, samples, "test")[name]
        assert [(e.id, e.prompt) for e in again] == [(e.id, e.prompt) for e in many[name]]
    assert len(many["visual_question_answering"]) == 12
    assert len(many["referring_segmentation"]) == 6


def test_held_out_wordings_are_asked_on_their_split_alone(folder: Path) -> None:
    from neuraltuning.tasks.referring_segmentation import HELD_OUT_REQUESTS, REQUESTS

    settings = run_settings(folder)
    for split, requests in (("test", REQUESTS), ("test_wordings", HELD_OUT_REQUESTS), ("test_classes", REQUESTS)):
        examples = collect_examples(settings, list(SceneDataset(split, 6)), split)["referring_segmentation"]
        openings = tuple(r.split("{}")[0] for r in requests)
        assert all(e.prompt.startswith(openings) for e in examples)


def test_tasks_without_items_are_left_out(folder: Path) -> None:
    settings = run_settings(folder).model_copy(update={"mixture": {"captioning": 1.0, "referring_segmentation": 1.0}})
    bare = sample().__class__(id="bare", image=sample().image, captions=("Two squares.",))
    assert set(collect_examples(settings, [bare], "test")) == {"captioning"}


def test_the_showcase_is_what_the_report_shows(run: Path) -> None:
    shown = read_run(run)
    assert set(shown.showcase["test"]) == set(TASKS)
    for task in TASKS:
        items = shown.showcase["test"][task]
        assert 1 <= len(items) <= 4
        for item in items:
            assert item.prompt
            assert item.reference
            assert (item.image is None) == (task == "text_to_image")
            if task == "text_to_image":
                assert item.target_image is not None
            if "segmentation" in task:
                assert len(item.target_masks) == item.reference.count("<OBJ>")
                assert len(item.masks) == item.reply.count("<OBJ>")
                assert "iou" in item.scores
    page = write_report(run).read_text()
    assert all(task.replace("_", " ") in page.lower() for task in TASKS)


def test_a_limit_scores_fewer_samples(run: Path, tmp_path: Path) -> None:
    evaluate(run, ["test"], 2, tmp_path)
    scores = json.loads((tmp_path / "metrics.json").read_text())["splits"]["test"]
    assert scores["referring_segmentation"]["n"] == 2
    assert scores["visual_question_answering"]["n"] == 4


def test_drawn_pictures_are_compared_in_inceptions_features_where_its_weights_are_given(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no Inception-v3 weights at .*none\.pth"):
        evaluate(run, ["test"], 2, tmp_path, inception_weights=tmp_path / "none.pth")
    assert not (tmp_path / "metrics.json").exists()

    def read(weights: Path) -> FeatureExtractor:
        assert weights == tmp_path / "inception.pth"
        return FeatureExtractor("inception-v3", lambda images: (np.array([image.size for image in images]), None))

    monkeypatch.setattr("neuraltuning.evaluation.evaluator.inception_features", read)
    evaluate(run, ["test"], 2, tmp_path, inception_weights=tmp_path / "inception.pth")
    scores = json.loads((tmp_path / "metrics.json").read_text())["splits"]["test"]["text_to_image"]
    assert scores["teacher_forced"]["encoder"] == "inception-v3"
    assert "fid_inception-v3" in {*scores["teacher_forced"], *scores["teacher_forced"].get("missing", ())}


def test_unusable_folders_and_splits_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"configuration\.yaml.*\.$"):
        evaluate(tmp_path, None, None, tmp_path)
    with pytest.raises(InputError, match="'tset'"):
        evaluate(run, ["tset"], None, tmp_path)
    without = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("model")))
    with pytest.raises(InputError, match=r"no saved model"):
        evaluate(without, None, 1, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


class Confused:
    """Answers a request without an image by naming an object."""

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        if any(q.image is None and "cat" in q.text for q in queries):
            raise InputError("The reply names an object to segment, but no image was given; pass one with the text.")
        return [Reply(text=q.text) for q in queries]


def test_a_reply_that_can_not_be_decoded_is_a_failure_and_not_the_end() -> None:
    """A badly tuned model may write <OBJ> where there is no image; that item scores nothing."""
    told: list[tuple[str, int, int]] = []
    runner = Runner(2, lambda *progress: told.append(progress))
    queries = [Query(None, text) for text in ("Draw a dog.", "Draw a cat.", "Draw an owl.")]
    replies = runner(Confused(), queries, "replies")  # type: ignore[arg-type]
    assert [r.text for r in replies] == ["Draw a dog.", "", "Draw an owl."]
    assert told == [("replies", 2, 3), ("replies", 3, 3)]


def test_the_runner_asks_in_batches_and_keeps_the_order(run: Path) -> None:
    model = MultitaskModel.from_pretrained(run)
    examples: list[Example] = []
    for number in range(5):
        examples += get_task("referring_segmentation").examples(sample(number), np.random.default_rng(0))[:1]
    queries = [Query(e.image, e.prompt, max_new_tokens=12) for e in examples]
    told: list[int] = []
    runner = Runner(2, lambda label, done, total: told.append(done))
    replies = runner(model, queries, "replies")
    assert [r.text for r in replies] == [model.reply_batch([q])[0].text for q in queries]
    forced = runner.forced(model, examples, "teacher forced")
    assert [r.text for r in forced] == [e.reply for e in examples]
    assert told == [2, 4, 5, 2, 4, 5]


class Echo:
    """Remembers what it was asked together, and answers with the question."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        self.batches.append([q.text for q in queries])
        return [Reply(text=q.text) for q in queries]


def test_what_is_asked_about_one_image_is_asked_together() -> None:
    """Over the borders of tasks, because a batch reads an image once; without an image apart."""
    one, other = sample(0).image, sample(1).image
    echo = Echo()
    queries = {
        "talk": [Query(one, "1a"), Query(other, "2a"), Query(None, "a")],
        "ask": [Query(one, "1b"), Query(other, "2b")],
        "draw": [Query(None, "b")],
    }
    runner = Runner(3, lambda *progress: None)
    replies = runner.by_task(echo, queries, "replies")  # type: ignore[arg-type]
    assert echo.batches == [["1a", "1b", "2a"], ["2b"], ["a", "b"]]
    assert {name: [r.text for r in of_task] for name, of_task in replies.items()} == {
        name: [q.text for q in of_task] for name, of_task in queries.items()
    }


class Knowing:
    """Writes the true reply to some requests, and remembers to which examples it was given the true one."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known
        self.given: list[str] = []

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        return [self._decoded(self.known.get(q.text, "None."), q.image) for q in queries]

    def teacher_forced(self, examples: list[Example]) -> list[Reply]:
        self.given += [e.prompt for e in examples]
        return [self._decoded(e.reply, e.image) for e in examples]

    @staticmethod
    def _decoded(text: str, image: Image.Image | None) -> Reply:
        """All of the picture for each object."""
        assert image is not None
        size = image.height, image.width
        return assemble_reply(text, {"<OBJ>": [(np.ones(size, bool), 1.0)] * text.count("<OBJ>")}, size)


def test_a_reply_that_is_the_true_one_is_not_decoded_again() -> None:
    task = get_task("referring_segmentation")
    examples = [task.examples(shown, np.random.default_rng(0))[0] for shown in SceneDataset("test", 3)]
    model: Any = Knowing({examples[1].prompt: examples[1].reply})
    runner = Runner(8, lambda *progress: None)
    items = {task.name: examples}
    [(scores, answered)] = score_split(model, items, ScoringResources(), runner, None, teacher_forced=True).values()
    assert model.given == [examples[0].prompt, examples[2].prompt]
    assert answered.forced is not None
    assert [r.text for r in answered.forced] == [e.reply for e in examples]
    assert answered.forced[1] is answered.replies[1]
    assert scores["teacher_forced"]["oiou"] > scores["oiou"]


def test_the_examples_of_a_sample_share_its_image(folder: Path) -> None:
    items = collect_examples(run_settings(folder), SceneDataset("test", 2), "test")
    images = [{id(e.image) for e in items[name]} for name in TASKS if name != "text_to_image"]
    assert len(images[0]) == 2
    assert all(found == images[0] for found in images)


def test_each_source_is_scored_on_its_own_splits_and_tasks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "scenes": {"source": "scenes"},
        "words": {"source": "elsewhere", "mixture": {"visual_question_answering": 1.0}},
    }
    samples = {"scenes.test": 2, "words.test_wordings": 3}
    values = json.loads(run_settings(folder, samples=samples, baseline_splits=[]).model_dump_json())
    values["data"] = {"sources": sources}
    settings = validate_settings(RunSettings, values, "the test")
    opened: list[tuple[str, str, int | None]] = []

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> SceneDataset:
        opened.append((source, split, size))
        return SceneDataset(split, size, seed)

    monkeypatch.setattr("neuraltuning.evaluation.evaluator.open_split", open_split)
    path = write_run(tmp_path / "run", settings, seed=5)
    splits = json.loads(evaluate(path, None, None, path).read_text())["splits"]
    assert opened == [("scenes", "test", 2), ("elsewhere", "test_wordings", 3)]
    assert set(splits["scenes.test"]) == set(TASKS)
    assert set(splits["words.test_wordings"]) == {"visual_question_answering"}
    assert "scenes.test" in write_report(path).read_text()
    with pytest.raises(InputError, match=r"'test' doesn't say which source it is of: write scenes\.test"):
        evaluate(path, ["test"], None, tmp_path)


def test_a_score_leaves_nothing_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(SceneDataset):
        def _generate(self, index: int) -> Any:
            if index == 1:
                raise InputError("The record 1 is damaged.")
            return super()._generate(index)

    monkeypatch.setattr(
        "neuraltuning.evaluation.evaluator.open_split",
        lambda source, split, seed, size=None: Damaged(split, size, seed),
    )
    path = write_run(tmp_path / "run", run_settings(folder), seed=5)
    with pytest.raises(InputError, match=r"The record 1 is damaged\."):
        evaluate(path, ["test"], 3, tmp_path)
