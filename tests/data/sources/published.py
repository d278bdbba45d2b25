"""Small data sets in exactly the layouts that are published."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (40, 60)
"""Rows and columns of the pictures."""


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def box_polygon(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def runs(x: int, y: int, width: int, height: int, compressed: bool) -> dict[str, Any]:
    """The run lengths of a rectangle, as RefCLEF and COCO spell them."""
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[y : y + height, x : x + width] = 1
    code = coco_mask.encode(np.asfortranarray(mask))
    if compressed:
        return {"size": list(SIZE), "counts": code["counts"].decode()}
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, len(flat)]).tolist()
    return {"size": list(SIZE), "counts": ([0] if flat[0] else []) + counts}


def refer(folder: Path, images: Path, split_by: str = "unc") -> None:
    """Four images, three splits, six refs; one object is of two polygons, others are run lengths."""
    shapes: list[Any] = [
        [box_polygon(5, 5, 10, 20), box_polygon(30, 10, 8, 8)],
        runs(20, 12, 12, 9, compressed=True),
        runs(1, 2, 3, 30, compressed=False),
        [box_polygon(40, 20, 15, 15)],
        [box_polygon(-8, 30, 20, 30)],  # beyond the edges
        [box_polygon(10, 10, 10, 10)],
    ]
    of_image = [11, 11, 12, 12, 13, 14]
    splits = {11: "train", 12: "train", 13: "val", 14: "testA"}
    refs = [
        {
            "sent_ids": [2 * n, 2 * n + 1],
            "file_name": f"COCO_train2014_{of_image[n]:012d}_{n}.jpg",
            "ann_id": 100 + n,
            "ref_id": n,
            "image_id": of_image[n],
            "split": splits[of_image[n]],
            "sentences": [
                {"tokens": ["left", "dog"], "raw": "Left dog!", "sent_id": 2 * n, "sent": "left dog"},
                {"tokens": ["the", "dog"], "raw": "the dog", "sent_id": 2 * n + 1, "sent": f"the dog of café {n}"},
            ][: 2 - n % 2],
            "category_id": 18,
        }
        for n in range(6)
    ]
    instances = {
        "info": {},
        "images": [
            {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1], "license": 1}
            for i in splits
        ],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": of_image[n],
                "category_id": 18,
                "segmentation": shapes[n],
                "bbox": [0, 0, 1, 1],
                "iscrowd": 0,
                "area": 1.0,
            }
            for n in range(6)
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, 2))
    (folder / "instances.json").write_text(json.dumps(instances))
    for i in splits:
        picture(images / f"COCO_train2014_{i:012d}.jpg", i)


def mmud_record(number: int) -> tuple[Any, ...]:
    """A record of the published pickles; the answer names the second object twice."""
    return (
        f"train2014\\COCO_{number:04d}.jpg",
        "A dog  and a cup stand on a table.",
        "##Question: What is drunk from? ##Answer: <SEP> The cup <LCL-2> is drunk from, and the dog <LCL-1> "
        "waits for the cup <LCL-2> . <GLB>",
        [["the dog", "a brown dog"], ["the cup"]],
        [[box_polygon(2, 3, 10, 12)], runs(30, 5, 9, 9, compressed=number % 2 == 0)],
        [[2, 3, 10, 12], [30, 5, 9, 9]],
        *SIZE,
        [18, 47],
        ["dog", "cup"],
        9,
        25,
    )


def mmud(folder: Path, images: Path, records: list[Any] | None = None) -> None:
    """Two records of training, one of validation."""
    folder.mkdir(parents=True, exist_ok=True)
    given = [mmud_record(0), mmud_record(1)] if records is None else records
    (folder / "mmud_train.pkl").write_bytes(pickle.dumps(given))
    (folder / "mmud_val.pkl").write_bytes(pickle.dumps([mmud_record(2)]))
    for number in range(3):
        picture(images / "train2014" / f"COCO_{number:04d}.jpg", number)
