"""Where `<OBJ>` and other words of replies look in the image (the journal paper's figure 6), drawn and counted.

    neuraltuning analyse attention runs/benchmark --image cat.jpg --text "Please segment the cat."
    neuraltuning analyse attention runs/benchmark --split validation --samples 32

Of a split, whose true masks are known, it also counts how far the attention on the image is drawn to the object that
an `<OBJ>` means: its *lift*, the object's share of the attention over its share of the image. The lift of the image's
other objects stands beside it, because objects draw attention whatever was asked. Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.analysis.attention_pictures import draw_heads, draw_layers, draw_looks
from neuraltuning.analysis.inspection import OBJECT_TOKEN, Inspection, Look, inspect_reply
from neuraltuning.analysis.neurons import Report
from neuraltuning.analysis.results import ATTENTION
from neuraltuning.analysis.run_examples import run_examples, run_settings
from neuraltuning.device import best_device
from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.interval import ItemStatistics, Score
from neuraltuning.files import atomic_files, write_json
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import find_model

RESULT = Path(ATTENTION.path).name
DRAWN = 6
"""Replies of a split that are drawn."""
WHAT = (
    "Attention weights say where a layer reads from, not what it takes from there or what the reply depends on. Each "
    "of a picture's maps has a scale of its own; how much of the attention it shows stands beside it."
)

_COLUMNS = tuple(
    f"{kind}{what}"
    for kind in ("patches", "described")
    for what in ("_on_object", "_area", "_on_others", "_others_area", "")
)


@dataclass(frozen=True, eq=False)
class Asked:
    """A reply to be looked into.

    Attributes:
        id: names it.
        image: what it is about.
        text: the request.
        reply: with its task tokens.
        masks: (N, height, width) bool, what its `<OBJ>` stand for in order; none where that is not known.
        others: (height, width) bool, the image's objects that it doesn't speak of; None where they are not known.
    """

    id: str
    image: Image.Image
    text: str
    reply: str
    masks: NDArray[np.bool_]
    others: NDArray[np.bool_] | None = None


def ask(model: MultitaskModel, image: Image.Image, text: str, reply: str | None, name: str) -> Asked:
    """A request with the model's own reply, or with one that is given."""
    if reply is not None:
        return Asked(name, image, text, reply, np.zeros((0, image.height, image.width), dtype=bool))
    answer = model.reply(image, text)
    return Asked(name, image, text, answer.text, answer.masks)


def split_replies(run: Path, split: str, samples: int) -> list[Asked]:
    """The true replies of a run's split that carry `<OBJ>`, of the first `samples` samples.

    Raises:
        InputError: the folder is no run, or the split has no such reply.
    """
    examples = run_examples(run_settings(run), split, samples)
    found = []
    for by_task in examples.by_sample:
        for example in by_task.values():
            masks = example.targets.get(OBJECT_TOKEN, ())
            if not masks or example.image is None:
                continue
            objects = () if example.sample is None else example.sample.objects
            meant = np.any(masks, axis=0)
            others = [one.mask for one in objects if not (one.mask & meant).any()]
            rest = np.any(others, axis=0) if others else np.zeros_like(meant)
            found.append(Asked(example.id, example.image, example.prompt, example.reply, np.stack(masks), rest))
    if not found:
        raise InputError(f"The split {split!r} has no example whose reply carries {OBJECT_TOKEN}; choose another one.")
    return found


def analyse_attention(
    model: MultitaskModel,
    asked: Sequence[Asked],
    output: Path,
    *,
    words: Sequence[str] = (),
    layer: int | None = None,
    report: Report = lambda what, done, of: None,
) -> dict[str, Any]:
    """Looks into replies and writes attention.json and pictures into `output`.

    Args:
        model: a tuned model.
        asked: the replies; the first few are drawn.
        output: folder of the results.
        words: words of the replies whose attention is wanted beside that of `<OBJ>`.
        layer: draw each head of this layer too.
        report: takes the progress.

    Returns:
        What attention.json holds.

    Raises:
        InputError: a reply has neither `<OBJ>` nor a word that was asked about, or there is no such layer.
    """
    items: list[dict[str, Any]] = []
    statistics = ItemStatistics(_COLUMNS)
    by_layer: list[NDArray[np.float64]] = []
    with atomic_files(output, last=RESULT) as folder:
        for done, one in enumerate(asked):
            found = inspect_reply(model, one.image, one.text, one.reply, words)
            _check(found, one, layer)
            if len(items) < DRAWN:
                items.append(_draw(folder, len(items) + 1, one, found, layer))
            if one.others is not None:
                objects = [look for look in found.looks if look.word == OBJECT_TOKEN]
                counted = [_count(look, mask, one.others) for look, mask in zip(objects, one.masks, strict=True)]
                statistics.append({name: float(sum(c[name].mean() for c in counted)) for name in _COLUMNS})
                by_layer.append(np.sum([[c[name].mean(-1) for name in _COLUMNS] for c in counted], axis=0))
            report("replies", done + 1, len(asked))
        result: dict[str, Any] = {
            "format_version": ATTENTION.version,
            "replies": len(asked),
            "what": WHAT,
            "items": items,
        }
        if len(statistics):
            result["lift"] = _lifts(statistics, np.sum(by_layer, axis=0))
        write_json(folder / RESULT, result)
    return result


def summary(found: Mapping[str, Any]) -> list[str]:
    """The result in lines for the terminal."""
    lines = []
    for item in found["items"]:
        for look in item["looks"]:
            shares = ", ".join(f"{share:.1%} {part}" for part, share in look["shares"].items())
            lines.append(f"{item['reply']}  {look['word']} looks at: {shares}")
    for kind, name in (("patches", "On patches"), ("described", "On names, laid on their patches")):
        if lift := found.get("lift", {}).get(kind):
            own, others = (_with_interval(lift, key) for key in ("object", "other_objects"))
            lines.append(f"{name}, the object meant gets {own} times its share of the image, others {others} times.")
    return lines


def open_model(run: Path) -> MultitaskModel:
    """The tuned model of a run, or of its own folder."""
    return MultitaskModel.from_pretrained(find_model(run)).to(best_device())


def _with_interval(scores: Mapping[str, Any], key: str) -> str:
    value, bounds = scores[key], scores[f"{key}_ci95"]
    if value is None:
        return "an undefined number of"
    return f"{value:.2f}" + ("" if bounds is None else f" ({bounds[0]:.2f} to {bounds[1]:.2f})")


def _check(found: Inspection, one: Asked, layer: int | None) -> None:
    if not found.looks:
        raise InputError(f"The reply {one.reply!r} has no {OBJECT_TOKEN}; name a word of it with --word.")
    n_layers = len(found.looks[0].weights)
    if layer is not None and not 0 <= layer < n_layers:
        raise InputError(f"There is no layer {layer}: the language model's layers are 0 to {n_layers - 1}.")


def _draw(folder: Path, number: int, one: Asked, found: Inspection, layer: int | None) -> dict[str, Any]:
    """Draws a reply and returns its entry in attention.json."""
    overview = f"{number}.png"
    draw_looks(one.image, one.text, one.reply, found.looks, one.masks, folder / overview)
    looks = []
    for place, look in enumerate(found.looks, start=1):
        pictures = [f"{number}-{place}-layers.png"]
        draw_layers(one.image, look, folder / pictures[0])
        if layer is not None:
            pictures.append(f"{number}-{place}-layer-{layer}.png")
            draw_heads(one.image, look, layer, folder / pictures[1])
        looks.append(
            {
                "word": look.word,
                "tokens": list(look.places),
                "shares": {part: round(float(share.mean()), 5) for part, share in look.shares.items()},
                "patches_by_layer": [round(float(share), 5) for share in look.shares["patches"].mean(-1)],
                "map": np.round(look.map, 6).tolist(),
                "described_map": np.round(look.described_map, 6).tolist(),
                "pictures": pictures,
            }
        )
    arrays = f"{number}.npz"
    weights: dict[str, Any] = {}
    for place, look in enumerate(found.looks, start=1):
        weights |= {f"weights_{place}": look.weights, f"described_{place}": look.described}
    np.savez_compressed(folder / arrays, **weights)
    return {
        "id": one.id,
        "text": one.text,
        "reply": one.reply,
        "picture": overview,
        "weights": arrays,
        "looks": looks,
    }


def _count(look: Look, mask: NDArray[np.bool_], others: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """(layers, heads) statistics of one `<OBJ>`: what `_COLUMNS` names."""
    counted = {}
    on_object, on_others = (_covered(m, look.map.shape) for m in (mask, others))
    for kind, weights in (("patches", look.weights), ("described", look.described)):
        whole = weights.astype(np.float64).sum((-1, -2))
        counted[f"{kind}_on_object"] = (weights * on_object).sum((-1, -2))
        counted[f"{kind}_on_others"] = (weights * on_others).sum((-1, -2))
        # so that a lift is a quotient of sums over replies, in which each weighs by its attention on the image
        counted[f"{kind}_area"] = whole * on_object.mean()
        counted[f"{kind}_others_area"] = whole * on_others.mean()
        counted[kind] = whole
    return counted


def _covered(mask: NDArray[np.bool_], grid: tuple[int, ...]) -> NDArray[np.float64]:
    """(grid rows, grid columns) the share of each patch that a mask of the image covers."""
    rows, columns = grid
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255.0


def _less(first: Score, second: Score) -> Score:
    return lambda sums: first(sums) - second(sums)


def _lifts(statistics: ItemStatistics, by_layer: NDArray[np.float64]) -> dict[str, Any]:
    """Lift of the object that is meant and of the others, for patches and for names laid on them."""
    result: dict[str, Any] = {"n": len(statistics)}
    rows = dict(zip(_COLUMNS, by_layer, strict=True))
    for kind in ("patches", "described"):
        functions = {
            "object": statistics.ratio(f"{kind}_on_object", f"{kind}_area"),
            "other_objects": statistics.ratio(f"{kind}_on_others", f"{kind}_others_area"),
        }
        functions["difference"] = _less(functions["object"], functions["other_objects"])
        result[kind] = statistics.scores(functions)
        with np.errstate(invalid="ignore", divide="ignore"):
            lifts = rows[f"{kind}_on_object"] / rows[f"{kind}_area"]
        result[kind]["object_by_layer"] = [round(float(v), 4) if np.isfinite(v) else None for v in lifts]
    return result
