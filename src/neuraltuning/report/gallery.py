"""The galleries of the report: for every task pictures, questions and replies, right ones and wrong ones.

Names of objects in a reply have the color of their masks. Pictures go into the page as data URLs.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from neuraltuning.report.html import Html, element, join
from neuraltuning.report.metric_names import metric_name, title
from neuraltuning.report.overlay import draw_masks, palette_color
from neuraltuning.report.run_files import Mask, ShowcaseItem

SHOWN_SIZE = 400
"""Longer side in pixels of the pictures in the page; smaller ones are enlarged so that outlines are crisp."""
LONGEST_TEXT = 1500

_TASK_TOKEN = re.compile(r"<[A-Z]{2,12}(?:-\d+)?>")
_OBJECT_TOKEN = re.compile(r"<(?:OBJ|LCL)(?:-\d+)?>")
_NAME = re.compile(r"\b(?:the|an?|its|this|that|these|those|both|my|your)\s[^,.;:?!<>]*$", re.IGNORECASE)
_LAST_WORD = re.compile(r"\b\w+\s*$")
_AND = re.compile(r"\b(?:and|or)\s", re.IGNORECASE)


def gallery(
    showcase: Mapping[str, Mapping[str, Sequence[ShowcaseItem]]], first_split: str, tasks: Sequence[str]
) -> Html | None:
    """All tasks of the first split, in the order of `tasks`, and further splits folded; None without items."""
    splits = sorted(showcase, key=lambda split: (split != first_split, split))
    parts = []
    for split in splits:
        order = sorted(showcase[split], key=lambda task: (task not in tasks, task in tasks and tasks.index(task)))
        shown = [_task(task, showcase[split][task]) for task in order if showcase[split][task]]
        if not shown:
            continue
        if split == first_split or len(splits) == 1:
            parts.append(join(shown))
        else:
            parts.append(element("details", element("summary", f"Replies on split \u201c{split}\u201d"), shown))
    if not parts:
        return None
    note = (
        "Replies as the model wrote them. On the left its masks, on the right the truth; a name in a reply has the "
        "color and number of its mask."
    )
    return element("section", element("h2", "Replies"), element("p", note, class_="note"), parts, id="replies")


def colored_text(text: str, masks: Sequence[Mask], count: int, objects: Sequence[int] = ()) -> Html:
    """A reply or reference as HTML: each object's name in its mask's color, task tokens as numbered marks.

    Args:
        text: with task tokens.
        masks: the i-th one belongs to the i-th object token and may say which phrase names it.
        count: masks that are drawn; a token beyond them is marked as having none.
        objects: for each object token the place of its mask among those drawn, where they aren't in order.
    """
    text = shortened(text)
    parts: list[Html | str] = []
    place = number = 0
    for token in _TASK_TOKEN.finditer(text):
        before = text[place : token.start()]
        place = token.end()
        if not _OBJECT_TOKEN.fullmatch(token.group()):
            parts += [before, element("span", token.group(), class_="token")]
            continue
        phrase = masks[number].phrase if number < len(masks) else ""
        name = _name_at_end(before, phrase)
        place_of_mask = objects[number] if number < len(objects) else number
        color = mask_color(place_of_mask)
        parts.append(before[: len(before) - len(name)])
        if name.strip():
            parts.append(element("span", name.strip(), class_="name", style=color))
        parts.append(mask_badge(place_of_mask, drawn=place_of_mask < count))
        number += 1
    parts.append(text[place:])
    return join(parts)


def mask_color(place: int) -> str:
    """The style of what belongs to the mask at a place."""
    return "--mask:#{:02x}{:02x}{:02x}".format(*palette_color(place))


def mask_badge(place: int, *, drawn: bool = True) -> Html:
    """The number of a mask in its color."""
    style, title = ("badge", None) if drawn else ("badge none", "no mask")
    return element("span", place + 1, class_=style, style=mask_color(place), title=title)


def picture(image: Image.Image, name: str) -> Html:
    """An `img` with the picture in it as a WebP data URL, enlarged or reduced to the shown size."""
    shown = _resized(image.convert("RGB"))
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=84, method=4)
    url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return element("img", src=url, alt=name, width=shown.width, height=shown.height, decoding="async")


def _task(task: str, items: Sequence[ShowcaseItem]) -> Html:
    right = [item for item in items if item.success]
    wrong = [item for item in items if not item.success]
    groups = [
        element(
            "div",
            element("h4", f"{heading} ({len(group)})"),
            element("div", [_card(item) for item in group], class_="gallery"),
            class_=style,
        )
        for heading, group, style in (("Successes", right, "success"), ("Failures", wrong, "failure"))
        if group
    ]
    return element("div", element("h3", title(task)), groups, class_="task")


def _card(item: ShowcaseItem) -> Html:
    reply = colored_text(item.reply, item.masks, len(item.masks)) if item.reply.strip() else element("em", "no reply")
    exchange = [element("p", shortened(item.prompt), class_="prompt"), element("p", reply, class_="reply")]
    if item.reference.strip() and item.reference.strip() != item.reply.strip():
        truth = colored_text(item.reference, item.masks, len(item.target_masks))
        exchange.append(element("p", element("span", "reference", class_="tag"), truth, class_="reference"))
    chips = [element("span", "\u2713 success" if item.success else "\u2717 failure", class_="verdict")]
    chips += [
        element("span", metric_name(name).format_item(value), class_="chip") for name, value in item.scores.items()
    ]
    if item.kind:
        chips.append(element("span", item.kind.replace("_", " "), class_="chip kind"))
    foot = element("p", chips, class_="chips", title=item.id)
    return element(
        "article", _pictures(item), exchange, foot, class_="card item " + ("right" if item.success else "wrong")
    )


def _pictures(item: ShowcaseItem) -> Html | None:
    figures: list[Html] = []
    shown = _open(item.image)
    if item.image is not None and shown is None:
        figures.append(_absent("The picture can't be read."))
    elif shown is not None and (item.masks or item.target_masks):
        figures.append(_figure(_overlay(shown, item.masks), "Reply" if item.masks else "Reply: no mask"))
        figures.append(_figure(_overlay(shown, item.target_masks), "Truth"))
    elif shown is not None:
        figures.append(element("figure", picture(shown, "image")))
    if item.generated or item.target_image is not None:
        for path in item.generated:
            drawn = _open(path)
            figures.append(_absent("The drawing can't be read.") if drawn is None else _figure(drawn, "Drawn"))
        if not item.generated:
            figures.append(_absent("Nothing drawn"))
        target = _open(item.target_image)
        if target is not None:
            figures.append(_figure(target, "Target"))
    return element("div", figures, class_="pictures" + (" two" if len(figures) > 1 else "")) if figures else None


def masked(image: Image.Image, masks: Sequence[NDArray[np.bool_]]) -> Image.Image:
    """The picture at its shown size with its (height, width) masks, smoothed to that size, on it."""
    shown = _resized(image)
    scaled = [
        np.asarray(Image.fromarray(mask).convert("L").resize(shown.size, Image.Resampling.BICUBIC)) > 127
        for mask in masks
    ]
    labels = [str(i + 1) for i in range(len(scaled))] if len(scaled) > 1 else None
    return draw_masks(shown, scaled, labels=labels)


def _overlay(image: Image.Image, masks: Sequence[Mask]) -> Image.Image:
    return masked(image, [_decoded(mask, image.size) for mask in masks])


def _decoded(mask: Mask, size: tuple[int, int]) -> NDArray[np.bool_]:
    from pycocotools import mask as coco

    if [int(side) for side in mask.rle["size"]] != [size[1], size[0]]:
        return np.zeros((size[1], size[0]), dtype=bool)
    return coco.decode({"size": list(mask.rle["size"]), "counts": mask.rle["counts"]}).astype(bool)


def _open(path: Path | None) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None


def _resized(image: Image.Image) -> Image.Image:
    scale = SHOWN_SIZE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _figure(image: Image.Image, caption: str) -> Html:
    return element("figure", picture(image, caption), element("figcaption", caption))


def _absent(text: str) -> Html:
    return element("figure", element("div", text, class_="absent"))


def _name_at_end(before: str, phrase: str) -> str:
    """The end of `before` that names the object: from the first article on, within the given phrase if it stands there,
    else behind the last "and"; the whole phrase, or the last word, where there is no article."""
    stripped = before.rstrip()
    if phrase and stripped.casefold().endswith(phrase.casefold()):
        start, whole = len(stripped) - len(phrase), True
    else:
        start, whole = max((joint.end() for joint in _AND.finditer(before)), default=0), False
    found = _NAME.search(before, start) or (None if whole else _LAST_WORD.search(before, start))
    return found.group() if found else before[start:] if whole else ""


def shortened(text: str) -> str:
    """A text of a length that a page has room for."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + " \u2026"
