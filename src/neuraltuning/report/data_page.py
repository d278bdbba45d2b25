"""Writes one self-contained page that shows a data set: samples with their masks, and what there is how often.

    neuraltuning data show data/refcoco --output refcoco.html

The page loads nothing from anywhere. Knows nothing of models, tasks or runs.
"""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.source import open_split
from neuraltuning.data.statistics import Statistics, split_statistics
from neuraltuning.data.store import StoredSamples
from neuraltuning.files import atomic_path
from neuraltuning.report.charts import Bar, bar_chart
from neuraltuning.report.distributions import draw_distributions
from neuraltuning.report.gallery import colored_text, mask_badge, mask_color, masked, picture, shortened
from neuraltuning.report.html import Html, document, element

COUNTED = 1000
"""Samples that are counted of a data set that has to draw or to open them for that (Scenes)."""
MOST_TEXTS = 6
"""Phrases of an object, captions and questions of a sample that are shown."""
MOST_BARS = 15


def write_data_page(source: str, split: str, limit: int, output: Path) -> Path:
    """Writes the page of one split.

    Args:
        source: a data set, see `neuraltuning.data.source.open_split`.
        split: which of its splits.
        limit: samples that are shown, evenly spread over the split.
        output: the page's file.

    Returns:
        `output`.

    Raises:
        InputError: there is no such data set or split, or a record can't be read.
        RunError: the page could not be written.
    """
    samples = open_split(source, split, seed=0)
    counted = samples if isinstance(samples, StoredSamples) else samples[:COUNTED]
    found = split_statistics(counted)
    places = np.linspace(0, len(samples) - 1, min(limit, len(samples))).round().astype(int).tolist()
    cards = [_card(samples[place]) for place in places]
    name = source if source == "scenes" else Path(source).resolve().name
    whole = "" if len(counted) == len(samples) else f" Counted are the first {len(counted):,} samples."
    header = element(
        "header",
        element("p", "Data set", class_="kicker"),
        element("h1", name),
        element("p", f"Split \u201c{split}\u201d, {len(samples):,} samples.{whole}", class_="note"),
        element("div", [_tile(what, count) for what, count in found.counts().items() if count], class_="tiles counts"),
    )
    note = f"{len(cards):,} of {len(samples):,}, evenly spread over the split."
    if found.categories:
        note += " What is said of an object has its mask's color and number."
    shown = element(
        "section",
        element("h2", "Samples"),
        element("p", note, class_="note"),
        element("div", cards, class_="gallery data"),
        id="samples",
    )
    footer = element("footer", element("p", "Written by neuraltuning data show."))
    body = [header, element("main", _statistics(found), shown), footer]
    with atomic_path(output) as temporary:
        temporary.write_text(document(f"{name}: {split}", body), encoding="utf-8")
    return output


def _tile(what: str, count: int) -> Html:
    return element(
        "div", element("span", what.capitalize(), class_="task-name"), element("strong", f"{count:,}"), class_="tile"
    )


def _statistics(found: Statistics) -> Html | None:
    tops = [
        _top("Classes", Counter({name: n for name, n in found.categories.items() if name}), "objects"),
        _top("Answers to visual questions", found.answers, "questions"),
    ]
    parts = [_figure(found), element("div", tops, class_="cards") if any(tops) else None]
    if not any(parts):
        return None
    return element("section", element("h2", "Statistics"), parts, id="statistics")


def _figure(found: Statistics) -> Html | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        if not draw_distributions(found, path):
            return None
        url = "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    note = (
        "Figure A.7 of the journal paper. Blue: this data set. Orange: MMUD's counts of objects, and the ranges that "
        "most of its texts are in; the paper gives no more of them. Tokens are words and punctuation marks; those of "
        "a language model are somewhat more."
    )
    return element(
        "div",
        element("img", src=url, alt="Distributions beside MMUD's", class_="distributions"),
        element("p", note, class_="note"),
    )


def _top(heading: str, counts: Counter[str], what: str) -> Html | None:
    """The most frequent names as bars, the longest of which is the first."""
    most = counts.most_common(MOST_BARS)
    if not most:
        return None
    highest, total = most[0][1], counts.total()
    bars = [Bar(shortened(name), n / highest, f"{n / total:.1%}", style="model") for name, n in most]
    kinds = f"The {len(most)} most frequent of {len(counts):,}" if len(counts) > len(most) else f"All {len(counts)}"
    note = element("p", f"{kinds}, as shares of {total:,} {what}.", class_="note")
    return element("div", element("h3", heading), bar_chart(bars, heading), note, class_="card")


def _card(sample: Sample) -> Html:
    shown = picture(masked(sample.image, [item.mask for item in sample.objects]), f"image of {sample.id}")
    parts = [
        element("div", element("figure", shown), class_="pictures"),
        _objects(sample),
        _more(len(sample.expressions), "expressions"),
        [element("p", shortened(caption), class_="caption") for caption in sample.captions[:MOST_TEXTS]],
        _more(len(sample.captions), "captions"),
        [_exchange(question, len(sample.objects)) for question in sample.reasoning[:MOST_TEXTS]],
        _more(len(sample.reasoning), "reasoning questions"),
        _questions(sample.questions),
        _more(len(sample.questions), "questions"),
    ]
    size = f"{sample.image.width} \u00d7 {sample.image.height}"
    chips = [element("span", text, class_="chip") for text in (sample.id, size, sample.source, sample.license) if text]
    return element("article", parts, element("p", chips, class_="chips"), class_="card item")


def _objects(sample: Sample) -> Html | None:
    """The objects with their phrases, then the expressions that mean several of them, or none."""
    rows = []
    for place, item in enumerate(sample.objects):
        phrases = [phrase.text for phrase in item.phrases[:MOST_TEXTS]]
        more = len(item.phrases) - len(phrases)
        name = element("span", item.category or "object", class_="name", style=mask_color(place))
        said = shortened("; ".join(phrases)) + (f" and {more} more" if more else "")
        phrased = element("span", said, class_="said", style=mask_color(place))
        rows.append(element("li", mask_badge(place), " ", name, " ", phrased))
    for expression in sample.expressions[:MOST_TEXTS]:
        meant = [mask_badge(place) for place in expression.objects] or "none"
        rows.append(element("li", element("span", shortened(expression.text), class_="said"), ": ", meant))
    return element("ul", rows, class_="objects") if rows else None


def _exchange(question: QuestionAnswer, n_objects: int) -> list[Html]:
    answer = colored_text(question.answer, (), n_objects, question.objects)
    return [
        element("p", shortened(question.question), class_="prompt"),
        element("p", answer, class_="reply"),
    ]


def _questions(questions: Sequence[QuestionAnswer]) -> Html | None:
    rows = [
        element("li", shortened(question.question), " ", element("strong", shortened(question.answer)))
        for question in questions[:MOST_TEXTS]
    ]
    return element("ul", rows, class_="questions") if rows else None


def _more(count: int, what: str) -> Html | None:
    return element("p", f"and {count - MOST_TEXTS} more {what}", class_="more") if count > MOST_TEXTS else None
