"""Answering requests with a tuned model and writing the answers: reply, masks, overlay, pictures, COCO records.

    neuraltuning predict MODEL --image cat.jpg --text "Please segment the cat." --out answers
    neuraltuning predict MODEL --requests requests.jsonl --out answers

Each answer is a folder whose `reply.json` is written last, so that what was answered before an interruption is kept and
not asked again. Knows the model only by its `reply_batch`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import Field

from neuraltuning.configuration import Settings, validate_settings
from neuraltuning.data.images import open_image
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_files, write_json

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.model import Query
    from neuraltuning.reply import Reply

MAX_TEXT = 100_000
"""Longest accepted text in characters; how much a model takes depends on its context, and it says so itself."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
"""What counts as a picture in a folder of requests."""

REPLY_FILE = "reply.json"

_NAMED = re.compile(r"[A-Za-z0-9][\w.-]{0,119}", re.ASCII)
_WRITTEN = re.compile(r"(mask|image)-\d+\.png|overlay\.png")


class Model(Protocol):
    """The part of `neuraltuning.MultitaskModel` that predictions need."""

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        """One reply a query, in order, equal to what each would get alone."""


class Request(Settings):
    """What is asked: one line of a requests file.

    Attributes:
        id: names the answer's folder; unique among the requests of a run.
        text: what the model is told.
        image: path of the picture it is about, relative to the requests file; None where there is none.
        seed: of what is drawn at random; the same seed gives the same picture.
        max_new_tokens: length at which the reply is cut off; None for the model's own.
    """

    id: str = ""
    text: str
    image: str | None = None
    seed: int = Field(0, ge=0, lt=2**63)
    max_new_tokens: int | None = Field(None, ge=1)


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of a request.

    Attributes:
        request: what was asked.
        folder: where its answer is.
        reply: the reply, or None where it was there already or could not be given.
        error: why it could not be given.
    """

    request: Request
    folder: Path
    reply: Reply | None = None
    error: InputError | None = None


def make_request(fields: dict[str, Any], where: str) -> Request:
    """A request from its fields, checked.

    Raises:
        InputError: an unknown field, a wrong type, or an empty or endless text; the sentence begins with `where`.
    """
    request = validate_settings(Request, fields, where)
    if not request.text.strip():
        raise InputError(f"{where}: the text is empty; write what the model is to do.")
    if len(request.text) > MAX_TEXT:
        raise InputError(f"{where}: the text has {len(request.text):,} characters; at most {MAX_TEXT:,} are taken.")
    return request


def read_requests(path: Path) -> list[Request]:
    """Reads a JSON-lines file of requests: `{"id": "a", "image": "cat.jpg", "text": "Please segment the cat."}`.

    Relative image paths start at the file's folder. A request without `id` is named by its line: "line-000012".

    Raises:
        InputError: no such file, a line that is no request, or an id that is no file name or stands twice; the
            sentence names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"There is no requests file {path}.") from None
    except UnicodeDecodeError:
        raise InputError(f"The requests file {path} is not UTF-8 text; save it as JSON lines.") from None
    except OSError as error:
        raise InputError(f"The requests file {path} can't be read: {error.strerror or error}.") from error
    requests: dict[str, Request] = {}
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        request = make_request(_parse_line(line, where), where)
        identity = request.id or f"line-{number:06d}"
        if not _NAMED.fullmatch(identity):
            raise InputError(
                f"{where}: the id {identity[:60]!r} can't name a folder; use letters, digits, dots, dashes and "
                "underscores, at most 120."
            )
        if identity in requests:
            raise InputError(f"{where}: the id {identity!r} is that of line {numbers[identity]} too; ids are unique.")
        image = None if request.image is None else str(path.parent / Path(request.image).expanduser())
        requests[identity] = request.model_copy(update={"id": identity, "image": image})
        numbers[identity] = number
    if not requests:
        raise InputError(f"The requests file {path} holds no request.")
    return list(requests.values())


def folder_requests(folder: Path, text: str, seed: int = 0) -> list[Request]:
    """One request with the same text for each picture in a folder, in the order of their names, named by them.

    Raises:
        InputError: no such folder, no picture in it, or an unusable text.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of images {folder}.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"The folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    fields = {"text": text, "seed": seed}
    return [make_request({"id": path.name, "image": str(path), **fields}, str(folder)) for path in paths]


def model_stamp(folder: Path) -> str:
    """A name for the present state of a saved model: its folder and a hash of its weight files' names, sizes and times.

    Answers carry it, so that those of another model, or of this one before it was tuned again, are not taken for its.
    """
    files = sorted(folder.rglob("*.safetensors"))
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return f"{folder.resolve()} {hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def answer_request(model: Model, request: Request, folder: Path, *, stamp: str = "") -> Reply:
    """Answers one request and writes the answer into `folder`.

    Args:
        model: answers.
        request: what is asked.
        folder: where the answer goes (see `write_answer`).
        stamp: the model's `model_stamp`.

    Raises:
        InputError: the picture or the text is unusable.
        RunError: the answer could not be written.
    """
    image = _open(request)
    [reply] = model.reply_batch([_query(request, image)])
    write_answer(folder, request, image, reply, stamp)
    return reply


def answer_requests(
    model: Model, requests: Sequence[Request], output: Path, *, batch_size: int = 8, stamp: str = ""
) -> Iterator[Answer]:
    """Answers requests in batches, each into the folder of its id below `output`, and yields what became of each.

    A request that is answered there already, with the same words by the same model, is not asked again. One with an
    unusable picture or text is reported in its `Answer` and does not stop the others.

    Args:
        model: answers.
        requests: what is asked, each with its own id.
        output: parent of the answers' folders.
        batch_size: how many requests the model gets at once.
        stamp: the model's `model_stamp`.

    Raises:
        RunError: an answer could not be written.
    """
    waiting: list[Request] = []
    for request in requests:
        if _is_answered(output / request.id, request, stamp):
            yield Answer(request, output / request.id)
        else:
            waiting.append(request)
    for batch in _batches(waiting, batch_size):
        yield from _answer_batch(model, batch, output, stamp)


def _answer_batch(model: Model, batch: Sequence[Request], output: Path, stamp: str) -> Iterator[Answer]:
    asked: list[tuple[Request, Image.Image | None]] = []
    opened: dict[str | None, Image.Image | None] = {}  # the model reads an image once for all requests about it
    for request in batch:
        try:
            if request.image not in opened:
                opened[request.image] = _open(request)
            asked.append((request, opened[request.image]))
        except InputError as error:
            yield Answer(request, output / request.id, error=error)
    if not asked:
        return
    try:
        replies = model.reply_batch([_query(request, image) for request, image in asked])
    except InputError as error:
        if len(asked) == 1:
            yield Answer(asked[0][0], output / asked[0][0].id, error=error)
        else:  # one of them is unusable: find out which
            for request, _ in asked:
                yield from _answer_batch(model, [request], output, stamp)
        return
    for (request, image), reply in zip(asked, replies, strict=True):
        write_answer(output / request.id, request, image, reply, stamp)
        yield Answer(request, output / request.id, reply)


def write_answer(folder: Path, request: Request, image: Image.Image | None, reply: Reply, stamp: str) -> None:
    """Writes `reply.json`, a PNG for each mask and picture, and with masks `overlay.png`; `reply.json` comes last.

    `reply.json` holds the request, the text, and an object for each mask in COCO's terms: `segmentation` (compressed
    RLE), `bbox` (x, y, width, height in pixels), `area` in pixels and `score`. What an earlier answer left in the
    folder is replaced.

    Raises:
        RunError: the folder can't be written.
    """
    from PIL import Image as Pillow

    from neuraltuning.report.overlay import draw_masks

    with atomic_files(folder, last=REPLY_FILE) as temporary:
        objects = []
        for number, (mask, score, box) in enumerate(zip(reply.masks, reply.scores, reply.boxes, strict=True), start=1):
            name = f"mask-{number}.png"
            Pillow.fromarray(mask).save(temporary / name)
            objects.append(
                {
                    "mask": name,
                    "segmentation": _run_lengths(mask),
                    "bbox": [float(side) for side in box],
                    "area": int(mask.sum()),
                    "score": float(score),
                }
            )
        pictures = [f"image-{number}.png" for number in range(1, len(reply.images) + 1)]
        for name, picture in zip(pictures, reply.images, strict=True):
            picture.save(temporary / name)
        if image is not None and objects:
            draw_masks(image, reply.masks).save(temporary / "overlay.png")
        record = {
            "model": stamp,
            "request": request.model_dump(),
            "text": reply.text,
            "objects": objects,
            "images": pictures,
        }
        write_json(temporary / REPLY_FILE, record)
        written = {path.name for path in temporary.iterdir()}
    for path in folder.iterdir():
        if _WRITTEN.fullmatch(path.name) and path.name not in written:
            path.unlink()


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: no JSON ({error.msg}, column {error.colno}); write one object a line.") from error
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply; write one object a line.") from None
    if not isinstance(data, dict):
        raise InputError(f'{where}: not an object; write {{"image": "cat.jpg", "text": "..."}}.')
    return data


def _open(request: Request) -> Image.Image | None:
    return None if request.image is None else open_image(request.image)


def _query(request: Request, image: Image.Image | None) -> Query:
    from neuraltuning.model import Query

    return Query(image=image, text=request.text, seed=request.seed, max_new_tokens=request.max_new_tokens)


def _is_answered(folder: Path, request: Request, stamp: str) -> bool:
    try:
        record = json.loads((folder / REPLY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and (record.get("model"), record.get("request")) == (stamp, request.model_dump())


def _run_lengths(mask: Any) -> dict[str, Any]:
    """A (height, width) bool mask as COCO's compressed run lengths, with `counts` as text."""
    import numpy as np
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


T = TypeVar("T")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
