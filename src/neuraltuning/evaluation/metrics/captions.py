"""Caption scores: BLEU-1-4, METEOR, ROUGE-L and CIDEr-D as the COCO tools compute them, and an object-name F1.

    scores = CaptionScores()
    scores.add("a dog on a mat", ["A dog lies on a mat.", "There is a dog."])
    scores.compute()                  # {"bleu4": ..., "meteor": ..., "cider": ..., "n": 1, ...}

The n-gram scores need Java and pycocoevalcap; without them they are None and `missing` says what to install. No other
tokenizer steps in: it would give a silently different number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from neuraltuning.errors import InputError, RunError
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.evaluation.metrics.interval import Floats, ItemStatistics, Score
from neuraltuning.evaluation.metrics.object_names import ObjectNames, ObjectNameScores

if TYPE_CHECKING:
    from neuraltuning.reply import Reply
    from neuraltuning.tasks.base import Example

BLEU_ORDERS = (1, 2, 3, 4)
COCO_SCORES = (*(f"bleu{order}" for order in BLEU_ORDERS), "meteor", "rouge_l", "cider")

_BLEU_COLUMNS = ("length", "reference_length", *(f"{count}{n}" for count in ("correct", "guess") for n in BLEU_ORDERS))
_METEOR_COLUMNS = tuple(f"meteor{i}" for i in range(coco_tools.METEOR_STATISTICS))
_COLUMNS = (*_BLEU_COLUMNS, *_METEOR_COLUMNS, "rouge_l", "cider", "items")


@dataclass(frozen=True)
class _Analysis:
    """What the COCO tools found: a row of `_COLUMNS` a caption, and name -> sentence for what they can't give."""

    items: ItemStatistics = field(default_factory=lambda: ItemStatistics(_COLUMNS))
    missing: dict[str, str] = field(default_factory=dict)

    def functions(self) -> dict[str, Score]:
        scores: dict[str, Score] = {f"bleu{order}": _bleu(order) for order in BLEU_ORDERS}
        scores |= {"meteor": _meteor, "rouge_l": self.items.ratio("rouge_l", "items")}
        scores |= {"cider": self.items.ratio("cider", "items")}
        return {name: score for name, score in scores.items() if name not in self.missing}


class CaptionScores:
    """Streaming, mergeable caption scores of plain strings.

    Keeps the texts, since CIDEr-D weighs n-grams by all references together; the Java programs run when a score is
    asked for. The tokens of a line can depend on the line after it, so captions are tokenized in the order of their
    ids: then it makes no difference which of several processes collected them.
    """

    def __init__(self) -> None:
        self._texts: list[tuple[str, tuple[str, ...]]] = []
        self._ids: list[str] = []
        self._latest: _Analysis | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, predicted: str, references: Sequence[str], id: str = "") -> None:
        """Takes in one predicted caption and the right ones for its image.

        Args:
            predicted: the caption.
            references: the right ones.
            id: orders the captions; those of one id, or without ids, stay in the order of arrival.

        Raises:
            InputError: there is no reference, or an empty one.
        """
        if isinstance(references, str) or not references or not all(reference.strip() for reference in references):
            raise InputError(f"A caption needs a list of references, none of them empty, got {references!r}.")
        self._texts.append((predicted, tuple(references)))
        self._ids.append(id)
        self._latest = None

    def merge(self, other: CaptionScores) -> None:
        """Takes in everything that `other` collected."""
        self._texts.extend(other._texts)
        self._ids.extend(other._ids)
        self._latest = None

    def compute(self) -> dict[str, Any]:
        """`bleu1`-`bleu4`, `meteor`, `rouge_l` (0..1) and `cider` (CIDEr-D, 0..10) with intervals, and `n`.

        CIDEr's interval keeps the n-gram weights of the whole set. Under `missing`: name -> why a score is None.
        """
        analysis = self._analysis()
        result = analysis.items.scores(analysis.functions())
        for name in analysis.missing:
            result |= {name: None, f"{name}_ci95": None}
        return {**result, "n": len(self), **({"missing": dict(analysis.missing)} if analysis.missing else {})}

    def per_item(self) -> list[dict[str, float]]:
        """The scores of each caption alone, in the order of `add`; without those that are missing."""
        analysis = self._analysis()
        rows = analysis.items.table()
        columns = {name: function(rows) for name, function in analysis.functions().items()}
        row_of = {place: row for row, place in enumerate(self._order())}
        return [{name: float(column[row_of[place]]) for name, column in columns.items()} for place in range(len(self))]

    def _analysis(self) -> _Analysis:
        if self._latest is None:
            self._latest = _analyse([self._texts[place] for place in self._order()])
        return self._latest

    def _order(self) -> list[int]:
        """The places of the captions in the order of their ids."""
        return sorted(range(len(self)), key=self._ids.__getitem__)


class CaptionMetric:
    """Scores captions against all references of an example, and the object names in them against its sample's objects.

    Args:
        category_names: all class names of the data set, so that a wrongly named one counts as wrong; without them, the
            names of the objects in the samples that this metric has seen.
    """

    def __init__(self, category_names: Iterable[str] | None = None) -> None:
        self.category_names = None if category_names is None else frozenset(category_names)
        self._names = None if self.category_names is None else ObjectNames(self.category_names)
        self._captions = CaptionScores()
        self._ids: list[str] = []
        self._objects: list[tuple[str, frozenset[str]]] = []
        coco_tools.warm_up()  # METEOR takes twelve seconds to load, and replies are generated meanwhile

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes in one caption; `object_f1` where the class names are known (`per_item` has the other scores)."""
        try:
            self._captions.add(reply.text, example.references or (example.reply,), example.id)
        except InputError as error:
            raise InputError(f"{example.id}: {error}") from error
        self._ids.append(example.id)
        if example.sample is None:
            return {}
        true = frozenset(instance.category for instance in example.sample.objects)
        if self.category_names is not None and not true <= self.category_names:
            raise InputError(
                f"{example.id} shows {sorted(true - self.category_names)}, which category_names lacks: give every "
                "class name of the data set."
            )
        self._objects.append((reply.text, true))
        return {} if self._names is None else {"object_f1": ObjectNameScores().add(self._names.find(reply.text), true)}

    def merge(self, other: CaptionMetric) -> None:
        self._captions.merge(other._captions)
        self._ids.extend(other._ids)
        self._objects.extend(other._objects)

    def compute(self) -> dict[str, Any]:
        """`CaptionScores.compute` with `object_f1`, `object_precision` and `object_recall` (micro, 0..1)."""
        names = self._names or ObjectNames(name for _, true in self._objects for name in true)
        objects = ObjectNameScores()
        for text, true in self._objects:
            objects.add(names.find(text), true)
        result = {**objects.compute(), **self._captions.compute()}
        if not self._objects:
            reason = "The object-name scores need examples with their sample, which lists the objects of the image."
            names_of_scores = ("object_f1", "object_precision", "object_recall")
            result["missing"] = {**result.get("missing", {}), **dict.fromkeys(names_of_scores, reason)}
        return result

    def per_item(self) -> dict[str, dict[str, float]]:
        """id -> METEOR and CIDEr-D of each caption alone, where the COCO tools are there (BLEU of one is noise)."""
        each = zip(self._ids, self._captions.per_item(), strict=True)
        return {id: {name: item[name] for name in ("meteor", "cider") if name in item} for id, item in each}


def _analyse(texts: Sequence[tuple[str, tuple[str, ...]]]) -> _Analysis:
    reason = coco_tools.why_missing()
    if reason is not None:
        return _Analysis(missing=dict.fromkeys(COCO_SCORES, reason))
    coco_tools.warm_up()  # METEOR loads while the tokenizer works
    try:
        # Two runs, as the COCO tools do: a line's tokens can depend on the line after it.
        predictions = coco_tools.ptb_tokenize([predicted for predicted, _ in texts])
        tokens = iter(coco_tools.ptb_tokenize([text for _, references in texts for text in references]))
    except RunError as error:
        return _Analysis(missing=dict.fromkeys(COCO_SCORES, str(error)))
    pairs = [(p, [next(tokens) for _ in references]) for p, (_, references) in zip(predictions, texts, strict=True)]

    analysis = _Analysis()
    try:
        meteor_rows = [coco_tools.shared_meteor().statistics(predicted, references) for predicted, references in pairs]
    except RunError as error:
        coco_tools.shared_meteor.cache_clear()
        analysis.missing["meteor"] = str(error)
        meteor_rows = [np.zeros(coco_tools.METEOR_STATISTICS)] * len(pairs)
    for (predicted, references), statistics, cider in zip(pairs, meteor_rows, _cider(pairs), strict=True):
        row = {**_bleu_row(predicted, references), **dict(zip(_METEOR_COLUMNS, statistics, strict=True))}
        analysis.items.append({**row, "rouge_l": _rouge_l(predicted, references), "cider": cider, "items": 1.0})
    return analysis


def _bleu_row(predicted: str, references: list[str]) -> dict[str, float]:
    """Clipped n-gram matches of one caption, with the closest reference's length."""
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    cooked = cook_test(predicted, cook_refs(references), eff="closest")
    counts = [cooked["testlen"], cooked["reflen"], *cooked["correct"], *cooked["guess"]]
    return dict(zip(_BLEU_COLUMNS, counts, strict=True))


def _rouge_l(predicted: str, references: list[str]) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().calc_score([predicted], references))


def _cider(pairs: list[tuple[str, list[str]]]) -> list[float]:
    """CIDEr-D of each caption, n-grams weighed by the references of all of them."""
    from pycocoevalcap.cider.cider import Cider

    if not any(reference for _, references in pairs for reference in references):
        return [0.0] * len(pairs)  # the tool fails where no reference has a word
    predictions = {i: [predicted] for i, (predicted, _) in enumerate(pairs)}
    return [float(score) for score in Cider().compute_score(dict(enumerate(r for _, r in pairs)), predictions)[1]]


def _bleu(order: int) -> Score:
    """Corpus BLEU of summed counts (Papineni et al. 2002), with the smoothing of the COCO tools."""
    tiny, small = 1e-15, 1e-9

    def score(sums: Floats) -> Floats:
        length, reference_length = sums[:, 0], sums[:, 1]
        correct, guess = sums[:, 2 : 2 + order], sums[:, 6 : 6 + order]
        precision = ((correct + tiny) / (guess + small)).prod(axis=1) ** (1.0 / order)
        ratio = (length + tiny) / (reference_length + small)
        penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
        return np.where(reference_length > 0, precision * penalty, np.nan)

    return score


def _meteor(sums: Floats) -> Floats:
    start = len(_BLEU_COLUMNS)
    statistics = sums[:, start : start + len(_METEOR_COLUMNS)]
    return np.where(statistics[:, 1] > 0, coco_tools.meteor(statistics), np.nan)
