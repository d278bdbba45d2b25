"""Caption scores: digit for digit the COCO tools' (pycocoevalcap), through one METEOR process for the whole module."""

from __future__ import annotations

import random
import threading
from io import TextIOWrapper
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.errors import InputError, RunError
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.evaluation.metrics.captions import COCO_SCORES, CaptionMetric, CaptionScores
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example

needs_java = pytest.mark.skipif(coco_tools.why_missing() is not None, reason="Java or pycocoevalcap is missing")

WORDS = (
    *("a", "the", "of", "on", "and", "under", "left", "right", "sits", "running", "quickly"),
    *("dog", "dogs", "cat", "cats", "mat", "umbrella", "big", "small", "red", "two"),
)


def captions(n: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Predictions that share words with one to three references; the first is perfect, the second empty."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        references = [
            " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 12))).capitalize() + "."
            for _ in range(rng.randint(1, 3))
        ]
        predicted = " ".join(w if rng.random() < 0.7 else rng.choice(WORDS) for w in references[0].split())
        pairs.append((predicted, references))
    return [(pairs[0][1][0], pairs[0][1]), ("", ["A dog."]), *pairs[2:]]


def example(id: str, references: tuple[str, ...], *categories: str, sample: bool = True) -> Example:
    mask = np.ones((1, 1), dtype=bool)
    instances = tuple(ObjectAnnotation(name, "thing", mask, (0.0, 0.0, 1.0, 1.0)) for name in categories)
    return Example(
        task="captioning",
        id=id,
        image=None,
        prompt="Describe the image.",
        reply=references[0],
        references=references,
        sample=Sample(id, image=None, objects=instances) if sample else None,  # type: ignore[arg-type]
    )


@needs_java
def test_scores_are_the_coco_tools_for_the_set_and_for_each_caption() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    class MeteorInTheSharedProcess(Meteor):
        """pycocoevalcap's client; starting its own process would cost 12 s more."""

        def __init__(self) -> None:
            process = coco_tools.shared_meteor()._process
            assert isinstance(process.stdin, TextIOWrapper) and isinstance(process.stdout, TextIOWrapper)
            self.meteor_p = SimpleNamespace(stdin=process.stdin.buffer, stdout=process.stdout.buffer)
            self.lock = threading.Lock()

        def __del__(self) -> None:
            pass

    pairs = [*captions(40), ("The hot-dog (big) & a café ||| it's 3.5%!", ["A café's dog ||| isn't big", "X"])]
    ours = CaptionScores()
    for predicted, references in pairs:
        ours.add(predicted, references)
    result, each = ours.compute(), ours.per_item()

    tokenizer = PTBTokenizer()
    true = tokenizer.tokenize({i: [{"caption": r} for r in references] for i, (_, references) in enumerate(pairs)})
    predictions = tokenizer.tokenize({i: [{"caption": p}] for i, (p, _) in enumerate(pairs)})
    bleu, bleus = Bleu(4).compute_score(true, predictions, verbose=0)
    theirs = {f"bleu{n + 1}": (bleu[n], bleus[n]) for n in range(4)}
    theirs["meteor"] = MeteorInTheSharedProcess().compute_score(true, predictions)
    theirs["rouge_l"] = Rouge().compute_score(true, predictions)
    theirs["cider"] = Cider().compute_score(true, predictions)
    assert set(theirs) == set(COCO_SCORES)
    for name, (score, scores) in theirs.items():
        assert result[name] == pytest.approx(score, abs=1e-9), name
        assert [item[name] for item in each] == pytest.approx(list(scores), abs=1e-9), name
        assert result[f"{name}_ci95"][0] < score < result[f"{name}_ci95"][1], name
    assert result["n"] == 41 and "missing" not in result


@needs_java
def test_merging_processes_gives_the_scores_of_one() -> None:
    single, first, second = CaptionMetric(), CaptionMetric(), CaptionMetric()
    for i, (predicted, references) in enumerate(captions(12, seed=1)):
        asked = example(str(i), tuple(references), "dog")
        single.update(asked, Reply(predicted))
        (first, second)[i % 2].update(asked, Reply(predicted))
    first.merge(second)
    merged, whole = first.compute(), single.compute()
    assert merged.keys() == whole.keys()
    for name, value in whole.items():
        assert merged[name] == pytest.approx(value, abs=1e-12), name
    each = first.per_item()
    assert each.keys() == {str(i) for i in range(12)} and each["1"] == {"meteor": 0.0, "cider": 0.0}


@needs_java
def test_captions_are_tokenized_in_the_order_of_their_ids() -> None:
    """The PTB tokenizer takes "A." before "The" for the end of a sentence, and else for a word of its own."""
    texts = {"1": "A dog by the A.", "2": "The cat.", "3": "cats"}

    def result(order: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
        scores = CaptionScores()
        for id in order:
            scores.add(texts[id], ["A dog by the a."], id)
        return scores.compute(), [scores.per_item()[order.index(id)] for id in "123"]

    assert result("123") == result("312") == result("231")
    apart = CaptionScores()  # without ids, in the order of arrival
    for id in "132":
        apart.add(texts[id], ["A dog by the a."])
    assert apart.compute()["bleu1"] != result("123")[0]["bleu1"]


@needs_java
def test_a_single_caption_and_an_empty_one() -> None:
    scores = CaptionScores()
    scores.add("A dog on a mat.", ["A dog on a mat."])
    result = scores.compute()
    assert result["bleu4"] == pytest.approx(1.0) and result["meteor"] == 1.0 and result["rouge_l"] == pytest.approx(1.0)
    assert result["cider"] == 0.0  # with one item no n-gram is rarer than another: CIDEr needs a set
    assert result["bleu4_ci95"] is None
    empty = CaptionScores()
    empty.add("", ["A dog on a mat."])
    assert {name: empty.compute()[name] for name in COCO_SCORES} == dict.fromkeys(COCO_SCORES, 0.0)
    assert CaptionScores().compute()["bleu4"] is None


@needs_java
def test_line_breaks_in_a_caption_do_not_shift_the_others() -> None:
    assert coco_tools.ptb_tokenize(["A\u2028dog.\r", "", "Two\ncats!"]) == ["a dog", "", "two cats"]


@pytest.mark.parametrize("lacking", ["java", "pycocoevalcap"])
def test_what_is_missing_is_said_and_no_number_given(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking == "java":
        monkeypatch.setattr(coco_tools.shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr(coco_tools.importlib.util, "find_spec", lambda name: None)
    metric = CaptionMetric(["dog", "cat"])
    metric.update(example("a", ("A dog.",), "dog"), Reply("a dog and a cat"))
    result = metric.compute()
    for name in COCO_SCORES:
        assert result[name] is None and result[f"{name}_ci95"] is None
        assert lacking in result["missing"][name].casefold()
    assert result["object_f1"] == pytest.approx(2 / 3)
    assert metric.per_item() == {"a": {}}


def test_a_failing_meteor_leaves_only_its_own_score_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RunError("METEOR ended.")

    fail.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(coco_tools, "why_missing", lambda: None)
    monkeypatch.setattr(coco_tools, "ptb_tokenize", lambda texts: [text.lower() for text in texts])
    monkeypatch.setattr(coco_tools, "warm_up", lambda: None)
    monkeypatch.setattr(coco_tools, "shared_meteor", fail)
    scores = CaptionScores()
    scores.add("a dog", ["a dog"])
    result = scores.compute()
    assert result["meteor"] is None and result["missing"] == {"meteor": "METEOR ended."}
    assert result["bleu1"] == pytest.approx(1.0)


def test_object_names_count_against_the_samples_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_tools.shutil, "which", lambda name: None)
    metric = CaptionMetric(["dog", "hot dog", "mouse"])
    assert metric.update(example("a", ("x",), "dog", "dog", "mouse"), Reply("Two mice.")) == {
        "object_f1": pytest.approx(2 / 3)
    }
    assert metric.update(example("b", ("x",), "hot dog"), Reply("A hot dog.")) == {"object_f1": 1.0}
    result = metric.compute()
    assert result["object_precision"] == 1.0 and result["object_recall"] == pytest.approx(2 / 3)

    blind = CaptionMetric()  # without class names, those of the samples seen
    assert blind.update(example("a", ("x",), "dog", "mouse"), Reply("Two mice and a hot dog.")) == {}
    assert blind.compute()["object_f1"] == 1.0

    without = CaptionMetric(["dog"])
    without.update(example("a", ("x",), sample=False), Reply("a dog"))
    for name in ("object_f1", "object_precision", "object_recall"):
        assert without.compute()[name] is None and "sample" in without.compute()["missing"][name]


def test_wrong_input_is_refused_with_its_name() -> None:
    with pytest.raises(InputError, match="scene-3 shows \\['fox'\\]"):
        CaptionMetric(["dog"]).update(example("scene-3", ("x",), "fox"), Reply("a fox"))
    with pytest.raises(InputError, match=r"scene-4.*none of them empty"):
        CaptionMetric().update(example("scene-4", (" ",)), Reply("a fox"))
    with pytest.raises(InputError, match="list of references"):
        CaptionScores().add("a fox", "a fox")
