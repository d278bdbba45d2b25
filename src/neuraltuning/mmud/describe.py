"""The step `describe`: a data card beside a data set, as the Hugging Face hub shows it, with figure A.7 of the paper.

    neuraltuning mmud describe TARGET

Works for what `mmud split` wrote and for any other stored data set. Says only what the data and their manifest say.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neuraltuning.data.shards import MANIFEST
from neuraltuning.data.statistics import Statistics, split_statistics
from neuraltuning.data.store import StoredSamples, split_names
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_files
from neuraltuning.mmud.manifest import Built, Division, Manifest, Replies, Reviewing
from neuraltuning.report.distributions import draw_distributions

CARD = "README.md"
FIGURE = "distributions.png"
MARK = "<!-- Written by neuraltuning mmud describe, {}. -->"
"""The last line of a card, with the digest of what stands before it: one that was edited isn't written over."""

SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7}
"""The hub's names of sizes -> below how many samples they are for."""
HUB_LICENSES = frozenset(
    [
        *("apache-2.0", "mit", "cc0-1.0", "unlicense", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    ]
)
"""SPDX identifiers in lower case that the hub has under the same name."""


def describe(target: Path) -> Path:
    """Writes the card and its figure into a data set's folder.

    Returns:
        The card's path.

    Raises:
        InputError: the folder holds no data set, its manifest is damaged, or a card in it was written or edited by
            someone else.
        RunError: the disk is full.
    """
    names = split_names(target)
    manifest = _manifest(target)
    check_card(target)
    splits = {name: split_statistics(StoredSamples(target / name)) for name in names}
    everything = sum(splits.values(), Statistics())
    with atomic_files(target, last=CARD) as folder:
        with_figure = draw_distributions(everything, folder / FIGURE)
        text = _card(target.resolve().name, splits, everything, manifest, with_figure)
        (folder / CARD).write_text(f"{text}\n{MARK.format(_digest(text))}\n", encoding="utf-8")
    return target / CARD


def _manifest(target: Path) -> Manifest:
    path = target / MANIFEST
    if not path.is_file():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} is damaged; write the data set again.") from error


def check_card(target: Path) -> None:
    """Refuses to lose a card that people worked on.

    Raises:
        InputError: the folder's card was written or edited by hand.
    """
    path = target / CARD
    if not path.exists():
        return
    try:
        text, _, mark = path.read_text(encoding="utf-8").rstrip("\n").rpartition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error}); move it away.") from error
    if mark != MARK.format(_digest(text)):
        raise InputError(f"{path} was written or edited by hand and would be lost; move it away.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _card(
    name: str, splits: Mapping[str, Statistics], everything: Statistics, manifest: Manifest, with_figure: bool
) -> str:
    built = manifest.built
    parts = [
        f"---\n{_front_matter(name, splits, everything)}\n---\n",
        f"# {_text(name)}\n",
        f"{_origin(manifest)}\n",
        "## What it holds\n",
        _split_table(splits, everything, manifest),
    ]
    if with_figure:
        parts.append(
            f"![Lengths of captions and of reasoning questions with answers, and objects of a sample]({FIGURE})\n\n"
            "*Figure A.7 of the MMUD paper: blue is this data set, orange what is published of MMUD. Tokens are words "
            "and punctuation marks.*\n"
        )
    parts += [
        "```python\nfrom datasets import load_dataset\n\n"
        f'samples = load_dataset("path/to/this/folder", split="{next(iter(splits))}")\n```\n',
        "## Licences\n",
        _table(
            ["licence of the image", "source", "samples"],
            [(known or "not known", source, f"{n:,}") for (known, source), n in everything.licenses.most_common()],
        ),
    ]
    if built:
        parts += ["## How it was made\n", _making(built)]
    parts += ["## Known limits\n", "".join(f"- {limit}\n" for limit in _limits(everything, manifest))]
    return "\n".join(parts)


def _front_matter(name: str, splits: Mapping[str, Statistics], everything: Statistics) -> str:
    from huggingface_hub import DatasetCardData

    known = {license.lower() or "unknown" for license, _ in everything.licenses}
    licenses = sorted({license if license in (*HUB_LICENSES, "unknown") else "other" for license in known})
    tasks = {
        "image-segmentation": everything.phrases or everything.expressions or everything.pair_lengths.total(),
        "image-to-text": everything.caption_lengths.total(),
        "visual-question-answering": everything.answers.total() or everything.pair_lengths.total(),
    }
    files = [{"split": split, "path": f"{split}/*.parquet"} for split in splits]
    return DatasetCardData(
        pretty_name=name,
        license=licenses,
        task_categories=[task for task, count in tasks.items() if count],
        size_categories=[next((size for size, n in SIZES.items() if everything.samples < n), "n>10M")],
        configs=[{"config_name": "default", "data_files": files}],
    ).to_yaml()


def _origin(manifest: Manifest) -> str:
    if manifest.built:
        return (
            f"Built with `neuraltuning mmud` from the images and objects of {_code(manifest.built.source)}: a caption, "
            "and a question that needs the image, with an answer in which `<OBJ>` stands behind each mention of an "
            "object."
        )
    if manifest.format:
        return f"Converted with `neuraltuning data convert` from the format {_code(manifest.format)}."
    return "Images with texts."


def _split_table(splits: Mapping[str, Statistics], everything: Statistics, manifest: Manifest) -> str:
    columns = [what for what, count in everything.counts().items() if count]
    rows = []
    for name, found in splits.items():
        counts = found.counts()
        digest = manifest.splits[name].sha256[:16] if name in manifest.splits else ""
        rows.append([name, *(f"{counts[what]:,}" for what in columns), digest])
    return _table(["split", *columns, "sha256"], rows)


def _making(built: Built) -> str:
    rows = [
        ("captions, questions and answers", _replies(built.annotate)),
        ("answering without the image, to filter", _replies(built.filter)),
        ("review", _review(built.review)),
        ("division", _division(built.division)),
        ("left out", ", ".join(f"{n:,} {reason}" for reason, n in built.left_out.items()) or "nothing"),
    ]
    return _table(["step", ""], [(step, text) for step, text in rows if text])


def _replies(used: Replies) -> str:
    if not used.models:
        return ""
    models = ", ".join(f"{name} ({n:,})" for name, n in used.models.items())
    return f"models: {models}; prompts: {', '.join(used.prompts)}"


def _review(review: Reviewing) -> str:
    if not review.reviewers:
        return "none"
    people = "1 person" if review.reviewers == 1 else f"{review.reviewers:,} people"
    text = f"{people}, {review.items:,} items"
    if review.items_of_several:
        text += f", {review.items_of_several:,} of them by several, who decide alike in {review.equal_decisions:.0%}"
        text += "" if review.kappa is None else f" (kappa {review.kappa:.2f})"
        text += "" if review.equal_tags is None else f" and tag alike in {review.equal_tags:.0%}"
    return text


def _division(division: Division | None) -> str:
    if division is None:
        return "each image in its own split; of nearly equal ones in several splits those for training are left out"
    return f"at random by image, seed {division.seed}; nearly equal images in one split"


def _limits(everything: Statistics, manifest: Manifest) -> Iterable[str]:
    built = manifest.built
    if built:
        yield "Captions, questions and answers were written by a model; they may be wrong, and biased as it is."
        if built.unreviewed:
            yield f"Nobody reviewed {built.unreviewed:,} of the {built.taken:,} answers; a program placed their tags."
        yield (
            "Images count as nearly equal when their 64-bit difference hashes differ in at most three bits; other "
            "images of one scene may stand in two splits."
        )
    if left_out := sum(len(split.left_out) for split in manifest.splits.values()):
        yield f"{left_out:,} records could not be used and were left out; `{MANIFEST}` names each with its reason."
    if unknown := sum(count for (license, _), count in everything.licenses.items() if not license):
        yield f"The licence of {unknown:,} images is not known."
    if len({license for license, _ in everything.licenses}) > 1:
        yield "The images are under different licences; the column `license` has each one's."
    if nameless := everything.categories[""]:
        yield f"{nameless:,} objects have no class name."
    yield "Licences are those of the images; who may use the texts is for whoever publishes them to say."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [[_text(cell) for cell in row] for row in [head, *rows]]
    cells.insert(1, ["---"] * len(cells[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _text(value: Any) -> str:
    """Text that can be neither markup nor the end of a table's cell."""
    escaped = html.escape(" ".join(str(value).split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in escaped)


def _code(value: Any) -> str:
    return f"`{str(value).replace('`', '')}`"
