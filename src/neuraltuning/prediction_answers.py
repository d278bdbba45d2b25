"""The folder of one answer: text, masks in COCO's terms, pictures. Knows nothing of models.

`reply.json` is written last, so that a folder with one is whole.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from neuraltuning.files import UNFINISHED, atomic_files, write_json
from neuraltuning.prediction_requests import Request

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.reply import Reply

REPLY_FILE = "reply.json"

_WRITTEN = re.compile(r"(mask|image)-\d+\.png|overlay\.png")


def model_stamp(folder: Path) -> str:
    """A name for the present state of a saved model: its folder and a hash of its weight files' names, sizes and times.

    Answers carry it, so that those of another model, or of this one before it was tuned again, are not taken for its.
    """
    files = sorted(folder.rglob("*.safetensors"))
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return f"{folder.resolve()} {hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def write_answer(folder: Path, request: Request, image: Image.Image | None, reply: Reply, stamp: str) -> None:
    """Writes `reply.json`, a PNG for each mask and picture, and with masks `overlay.png`; `reply.json` comes last.

    `reply.json` holds the request, the text, and an object for each mask in COCO's terms: `segmentation` (compressed
    RLE), `bbox` (x, y, width, height in pixels), `area` in pixels and `score`. What an earlier answer left in the
    folder is replaced.

    Raises:
        RunError: the folder can't be written.
    """
    from PIL import Image as Pillow

    from neuraltuning.data.records import encode_mask
    from neuraltuning.report.overlay import draw_masks

    with atomic_files(folder, last=REPLY_FILE) as temporary:
        objects = []
        for number, (mask, score, box) in enumerate(zip(reply.masks, reply.scores, reply.boxes, strict=True), start=1):
            name = f"mask-{number}.png"
            Pillow.fromarray(mask).save(temporary / name)
            objects.append(
                {
                    "mask": name,
                    "segmentation": encode_mask(mask),
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
        elif path.name.startswith(UNFINISHED):  # of a run that was killed while it wrote
            shutil.rmtree(path, ignore_errors=True)


def is_answered(folder: Path, request: Request, stamp: str) -> bool:
    """Whether a folder holds the answer to this very request, by the model of this stamp."""
    try:
        record = json.loads((folder / REPLY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and (record.get("model"), record.get("request")) == (stamp, request.model_dump())
