"""What every task makes of a sample: deterministic, well-formed examples, and metrics that know right from wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neuraltuning.tasks
from neuraltuning.data.sample import Expression, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import category_names
from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.evaluation.metrics.image_features import FeatureExtractor
from neuraltuning.reply import Reply
from neuraltuning.tasks import Example, ScoringResources, Task, get_task, register_task, task_names
from neuraltuning.tasks.captioning import HELD_OUT_REQUESTS as HELD_OUT_CAPTION_REQUESTS
from neuraltuning.tasks.captioning import REQUESTS as CAPTION_REQUESTS
from neuraltuning.tasks.captioning import Captioning
from neuraltuning.tasks.referring_segmentation import HELD_OUT_REQUESTS, REQUESTS
from neuraltuning.tasks.text_to_image import HELD_OUT_REQUESTS as HELD_OUT_DRAWING_REQUESTS
from neuraltuning.tasks.text_to_image import REQUESTS as DRAWING_REQUESTS
from tests.tiny_models import sample

TASKS = ("captioning", "reasoning_segmentation", "referring_segmentation", "text_to_image", "visual_question_answering")
REFERRING = "referring_segmentation"
WITH_MASKS = ("reasoning_segmentation", "referring_segmentation")
WORDINGS = {
    "captioning": (CAPTION_REQUESTS, HELD_OUT_CAPTION_REQUESTS),
    "referring_segmentation": (REQUESTS, HELD_OUT_REQUESTS),
    "text_to_image": (DRAWING_REQUESTS, HELD_OUT_DRAWING_REQUESTS),
}


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    return list(SceneDataset("train", 40))


def all_examples(name: str, samples: Sequence[Sample], seed: int = 0, **options: Any) -> list[Example]:
    rng = np.random.default_rng(seed)
    return [e for s in samples for e in get_task(name).examples(s, rng, **options)]


def facts(example: Example) -> tuple[object, ...]:
    """All that can be compared."""
    targets = {token: [id(t) for t in targets] for token, targets in example.targets.items()}
    return (example.id, example.prompt, example.reply, example.kind, example.references, str(targets))


def test_the_tasks_of_the_papers_are_known() -> None:
    assert task_names() == TASKS
    assert [get_task(name).name for name in TASKS] == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_examples_come_from_the_generator_alone(name: str, scenes: list[Sample]) -> None:
    np.random.seed(0)
    first = [facts(e) for e in all_examples(name, scenes)]
    np.random.seed(1)
    assert [facts(e) for e in all_examples(name, scenes)] == first
    assert [facts(e) for e in all_examples(name, scenes, seed=1)] != first


@pytest.mark.parametrize("held_out", [False, True], ids=["trained", "held out"])
@pytest.mark.parametrize("name", TASKS)
def test_examples_are_well_formed(name: str, held_out: bool, scenes: list[Sample]) -> None:
    samples = [*scenes, sample()]
    examples = all_examples(name, samples, held_out_wordings=held_out)
    task = get_task(name)
    assert len(examples) >= len(samples) // 2
    assert len({e.id for e in examples}) == len(examples)
    by_id = {s.id: s for s in samples}
    for e in examples:
        assert e.task == name
        assert e.sample is by_id[e.id.split("/")[0]]
        assert e.image is (None if name == "text_to_image" else e.sample.image)
        for text in (e.prompt, e.reply, *e.references):
            assert text == text.strip() != ""
            assert not re.search(r"[{}]|  | [.,?!]|\.\.|\?\.", text), text
        assert e.reply[0] == e.reply[0].upper() or name == "visual_question_answering"
        assert set(e.targets) == set(task.tokens)
        for token in ("<OBJ>", "<GEN>"):
            assert e.reply.count(token) == len(e.targets.get(token, ()))
            assert token not in e.prompt
        if name in WITH_MASKS:
            assert e.kind
            assert re.fullmatch(r"(?:(?!<OBJ>).)*\w <OBJ>.*\.", e.reply), e.reply
            assert all(m.shape == (e.sample.image.height, e.sample.image.width) for m in e.targets["<OBJ>"])
            assert all(m.dtype == np.bool_ and m.any() for m in e.targets["<OBJ>"])


@pytest.mark.parametrize("name", list(WORDINGS))
def test_held_out_wordings_are_never_trained(name: str, scenes: list[Sample]) -> None:
    trained, held_out = WORDINGS[name]
    assert not set(trained) & set(held_out)
    patterns = {
        key: [re.escape(w).replace(r"\{\}", ".+") for w in wordings]
        for key, wordings in (("trained", trained), ("held out", held_out))
    }
    used: dict[str, set[str]] = {"trained": set(), "held out": set()}
    for key, asks_held_out in (("trained", False), ("held out", True)):
        other = "held out" if key == "trained" else "trained"
        for seed in range(4):
            for e in all_examples(name, scenes, seed=seed, held_out_wordings=asks_held_out):
                own = {p for p in patterns[key] if re.fullmatch(p, e.prompt)}
                assert own, e.prompt
                assert not any(re.fullmatch(p, e.prompt) for p in patterns[other]), e.prompt
                used[key] |= own
    assert {key: len(u) for key, u in used.items()} == {"trained": len(trained), "held out": len(held_out)}


def test_each_mention_of_a_reply_is_its_targets_phrase(scenes: list[Sample]) -> None:
    counts = []
    for e in all_examples("referring_segmentation", scenes):
        assert e.sample is not None
        mentions = re.findall(r"(?:^|, | and )([^,]+?) <OBJ>", e.reply)
        assert len(mentions) == len(e.targets["<OBJ>"])
        for mention, mask in zip(mentions, e.targets["<OBJ>"], strict=True):
            [owner] = [o for o in e.sample.objects if o.mask is mask]
            texts = [p.text for p in owner.phrases]
            assert mention[0].lower() + mention[1:] in texts
            assert any(text in e.prompt for text in texts)
        assert len({id(m) for m in e.targets["<OBJ>"]}) == len(mentions)
        assert (e.kind == "several") == (len(mentions) > 1)
        counts.append(len(mentions))
    assert set(counts) == {1, 2, 3}
    assert 0.15 < np.mean(np.array(counts) > 1) < 0.35


def test_expressions_of_several_objects_and_of_none_are_asked_beside_the_phrases(scenes: list[Sample]) -> None:
    plain = next(s for s in scenes if len(s.objects) > 1)
    expressions = (Expression("all of it", (0, 1)), Expression("the unicorn", ()), Expression("that one", (1,)))
    asked = [
        e for seed in range(8) for e in all_examples(REFERRING, [replace(plain, expressions=expressions)], seed=seed)
    ]
    assert len(asked) == 8 * (len(all_examples(REFERRING, [plain])) + 3)
    assert {e.id.rsplit("/", 1)[1] for e in asked if "the unicorn" in e.prompt} > {"0"}  # in random order
    first, second = plain.objects[:2]
    replies = {
        "all of it": (
            f"All of it: {first.category} <OBJ> and {second.category} <OBJ>.",
            "several",
            [first.mask, second.mask],
        ),
        "the unicorn": ("There is none.", "none", []),
        "that one": ("That one <OBJ>.", "", [second.mask]),
    }
    for text, (reply, kind, masks) in replies.items():
        for e in asked:
            if text in e.prompt:
                assert (e.reply, e.kind) == (reply, kind)
                assert [id(m) for m in e.targets["<OBJ>"]] == [id(m) for m in masks]


def test_objects_without_a_class_name_are_called_objects() -> None:
    bare = replace(sample(), objects=tuple(replace(o, category="", phrases=()) for o in sample().objects))
    [example] = all_examples(REFERRING, [replace(bare, expressions=(Expression("both", (0, 1)),))])
    assert example.reply == "Both: object <OBJ> and object <OBJ>."


def test_every_kind_of_phrase_is_asked_for(scenes: list[Sample]) -> None:
    kinds = {e.kind for e in all_examples("referring_segmentation", scenes)}
    assert kinds == {"class", "attribute", "position", "size", "relation", "several"}


def test_reasoning_targets_are_the_objects_that_the_answer_names() -> None:
    [example] = all_examples("reasoning_segmentation", [sample()])
    assert example.targets["<OBJ>"][0] is sample_object(example, 1)
    assert example.reply == "The blue square <OBJ> is like the sky."


def sample_object(example: Example, place: int) -> Any:
    assert example.sample is not None
    return example.sample.objects[place].mask


@pytest.mark.parametrize("name", TASKS)
def test_a_sample_that_lacks_what_a_task_needs_gives_no_example(name: str) -> None:
    assert all_examples(name, [Sample("bare", sample().image)]) == []


# --- metrics ------------------------------------------------------------------------------------------------------


def perfect(example: Example) -> Reply:
    masks = example.targets.get("<OBJ>", ())
    return Reply(
        text=example.reply,
        masks=np.stack(masks) if len(masks) else np.zeros((0, 0, 0), dtype=bool),
        scores=np.ones(len(masks), dtype=np.float32),
        images=tuple(example.targets.get("<GEN>", ())),
    )


def mean_color(images: Sequence[Any]) -> tuple[Any, None]:
    return np.stack([np.asarray(i.convert("RGB").resize((4, 4)), dtype=float).ravel() for i in images]), None


RESOURCES = ScoringResources(FeatureExtractor("pixels", mean_color), category_names("scenes"))
MAIN = {
    "captioning": "object_f1",
    "reasoning_segmentation": "oiou",
    "referring_segmentation": "oiou",
    "text_to_image": "among_16",
    "visual_question_answering": "accuracy",
}


@pytest.mark.parametrize("name", TASKS)
def test_true_replies_score_one_and_empty_ones_nothing(
    name: str, scenes: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco_tools, "why_missing", lambda: "Java starts slowly, and the captions' tests cover it.")
    task = get_task(name)
    examples = all_examples(name, scenes)[:40]
    right, wrong = task.metric(RESOURCES), task.metric(RESOURCES)
    key, least = task.success
    items = [right.update(e, perfect(e)) for e in examples]
    for e in examples:
        wrong.update(e, Reply(text=""))
    later = right.per_item() if hasattr(right, "per_item") else {}
    if name != "text_to_image":  # its items are scored among each other
        assert all({**v, **later.get(e.id, {})}[key] >= least for e, v in zip(examples, items, strict=True))
    good, bad = right.compute(), wrong.compute()
    assert good["n"] == bad["n"] == len(examples)
    assert good[MAIN[name]] == pytest.approx(1.0)
    assert bad[MAIN[name]] == pytest.approx(0.0)


@pytest.mark.parametrize("name", WITH_MASKS)
def test_masking_every_object_lies_between(name: str, scenes: list[Sample]) -> None:
    task = get_task(name)
    metric = task.metric(RESOURCES)
    for e in all_examples(name, scenes):
        [(baseline, reply)] = task.constant_replies(e).items()
        assert baseline == "all_objects"
        assert reply.masks.shape == (len(e.targets["<OBJ>"]), e.sample.image.height, e.sample.image.width)
        metric.update(e, reply)
    assert 0.1 < metric.compute()["oiou"] < 0.7


@pytest.mark.parametrize("name", ["captioning", "text_to_image", "visual_question_answering"])
def test_other_tasks_have_no_constant_baseline(name: str) -> None:
    assert all(get_task(name).constant_replies(e) == {} for e in all_examples(name, [sample()]))


def test_drawing_is_not_scored_without_features() -> None:
    with pytest.raises(InputError, match=r"encoder\.$"):
        get_task("text_to_image").metric(ScoringResources())


# --- the registry -------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Task]]]:
    """The registered tasks, put back afterwards."""
    registered = dict(neuraltuning.tasks._TASKS)
    monkeypatch.setattr(neuraltuning.tasks, "_TASKS", registered)
    yield registered


class Praise(Captioning):
    """A task from outside."""

    name = "praise"


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^There is no task named 'segmentation'; known: captioning, .*\.$"):
        get_task("segmentation")


def test_a_name_is_given_once(registry: dict[str, type[Task]]) -> None:
    assert register_task(Praise) is Praise
    assert register_task(Praise) is Praise
    assert isinstance(get_task("praise"), Praise)
    assert "praise" in task_names()
    other = type("Other", (Captioning,), {"name": "praise"})
    with pytest.raises(ValueError, match="praise"):
        register_task(other)


def test_an_installed_package_brings_its_task(registry: dict[str, type[Task]], monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "praise"

        def load(self) -> type[Task]:
            return Praise

    def entries(*, group: str, name: str | None = None) -> list[Entry]:
        return [Entry()] if group == "neuraltuning.tasks" and name in (None, "praise") else []

    monkeypatch.setattr(neuraltuning.tasks, "entry_points", entries)
    assert "praise" in task_names()
    assert isinstance(get_task("praise"), Praise)
