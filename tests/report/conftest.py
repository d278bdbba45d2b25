"""A small run folder with everything that a report may find, and with hostile text in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

HOSTILE = "The left dog <OBJ> & <script>alert('x')</script> and the cat <OBJ>."


def rle(rows: slice, columns: slice, size: int = 32) -> dict[str, Any]:
    """COCO RLE of a rectangle in a square picture."""
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[rows, columns] = 1
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": [size, size], "counts": encoded["counts"].decode("ascii")}


def segmentation(oiou: float) -> dict[str, Any]:
    return {"oiou": oiou, "oiou_ci95": [oiou - 0.1, oiou + 0.1], "miou": oiou, "n": 40, "n_masks": 52}


def write_item(folder: Path, k: int, **fields: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (200, 90 + k, 90)).save(folder / f"{k}.png")
    record = {"id": f"item-{k}", "prompt": "Please.", "reply": "", "scores": {}, "masks": [], "image": f"{k}.png"}
    (folder / f"{k}.json").write_text(json.dumps({**record, **fields}))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run: two splits, three tasks, two training stages, successes and failures."""
    run = tmp_path / "quick<b>run"
    run.mkdir()
    referring = {
        **segmentation(0.612),
        "by_kind": {"relation": segmentation(0.41), "class": segmentation(0.77)},
        "teacher_forced": segmentation(0.655),
        "baselines": {"all_objects": segmentation(0.27), "untuned": segmentation(0.0)},
    }
    captioning = {
        "object_f1": 0.71,
        "object_f1_ci95": [0.68, 0.74],
        "bleu4": None,
        "missing": {"bleu4": "There is no `java` on the PATH."},
        "n": 30,
    }
    drawing = {"fid_tiny": 31.25, "kid_tiny": -0.0012, "among_16": 0.25, "among_16_chance": 0.0625, "n": 32}
    metrics = {
        "splits": {
            "validation": {"referring_segmentation": segmentation(0.6)},
            "test": {"referring_segmentation": referring, "captioning": captioning, "text_to_image": drawing},
        },
        "seconds": 125.0,
        "config": {"tuner": {"alpha": 0.9, "note": "<img src=x onerror=alert(1)>"}, "model": {"llm": "SmolLM2-135M"}},
        "model": {"trainable_parameters": 5_200_000, "frozen_parameters": 134_800_000},
    }
    (run / "metrics.json").write_text(json.dumps(metrics))

    log = [{"stage": "warmup", "step": s, "loss": 2.0 / s, "learning_rate": 1e-3} for s in range(1, 51)]
    log += [{"stage": "tuning", "step": s, "loss": 1.0 / s, "loss/mask_dice": 0.5} for s in range(1, 101)]
    log += [{"stage": "tuning", "step": 100, "validation": {"referring_segmentation": {"oiou": 0.6, "n": 40}}}]
    lines = [json.dumps(record) for record in log]
    (run / "training_log.jsonl").write_text("\n".join(lines) + '\n{"stage": "tuni')  # interrupted while writing

    show = run / "showcase" / "test"
    write_item(
        show / "referring_segmentation",
        0,
        prompt="Please segment the left dog and the cat.",
        reply=HOSTILE,
        reference="The left dog <OBJ> and the cat <OBJ>.",
        kind="several",
        scores={"iou": 0.5},
        masks=[{"rle": rle(slice(2, 12), slice(2, 12)), "phrase": "the left dog", "score": 0.9}],
        target_masks=[rle(slice(2, 12), slice(2, 12)), rle(slice(20, 30), slice(20, 30))],
        verdict="failure",
    )
    write_item(show / "captioning", 0, reply="Two dogs.", reference="Two dogs.", verdict="success")
    write_item(
        show / "text_to_image",
        0,
        prompt="Draw two dogs.",
        reply="Here <GEN>.",
        image=None,
        generated=["0-reply.png"],
        target_image="0.png",
        scores={"among_16": 1.0},
        verdict="success",
    )
    Image.new("RGB", (8, 8), "red").save(show / "text_to_image" / "0-reply.png")
    write_item(run / "showcase" / "validation" / "captioning", 0, reply="A cat.", verdict="failure")
    return run
