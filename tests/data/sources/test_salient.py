"""DUTS', DUT-OMRON's and ECSSD's folders: pairs by name, foreground above 127, and pairs that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.salient import read_salient
from neuraltuning.errors import InputError
from neuraltuning.tasks import get_task
from tests.data.sources.published import SIZE, picture


def write_mask(path: Path, size: tuple[int, int] = SIZE) -> None:
    mask = np.zeros(size, dtype=np.uint8)
    mask[10:20, 10:30] = 255
    mask[9, 10:30] = 127  # edges are softened
    mask[20, 10:30] = 128
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for images, masks in (
        ("DUTS/DUTS-TR/DUTS-TR-Image", "DUTS/DUTS-TR/DUTS-TR-Mask"),
        ("DUTS/DUTS-TE/DUTS-TE-Image", "DUTS/DUTS-TE/DUTS-TE-Mask"),
        ("DUT-OMRON/DUT-OMRON-image/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG"),
        ("ECSSD/images", "ECSSD/ground_truth_mask"),
    ):
        for n in range(2):
            picture(tmp_path / images / f"im{n}.jpg", n)
            write_mask(tmp_path / masks / f"im{n}.png")
        (tmp_path / images / "Thumbs.db").write_bytes(b"\0")
        (tmp_path / masks / "._im0.png").write_bytes(b"\0")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        ("duts", "DUTS", {"train": None, "test": 5_019}),
        ("duts", "DUTS/DUTS-TE", {"test": 5_019}),
        ("dut-omron", "DUT-OMRON", {"test": 5_168}),
        ("ecssd", "ECSSD", {"test": 1_000}),
    ],
)
def test_published_layouts(place: Path, name: str, folder: str, splits: dict[str, int | None]) -> None:
    found = read_salient(name, place / folder, place / folder)
    assert {split: own.published.get("images") for split, own in found.items()} == splits
    for split, own in found.items():
        assert own.counts == {"images": 2, "masks": 2}
        sample, _ = own.entries[0].read()
        assert sample.id == f"{name}-{split}-im0"


def test_masks_and_pictures_apart(place: Path) -> None:
    masks, pictures = place / "DUTS" / "DUTS-TE" / "DUTS-TE-Mask", place / "DUTS" / "DUTS-TE" / "DUTS-TE-Image"
    assert set(read_salient("duts", masks, pictures)) == {"test"}
    with pytest.raises(InputError, match=r"has the masks DUTS-TE-Mask, but .* no folder DUTS-TE-Image of pictures"):
        read_salient("duts", masks, masks)


def test_foreground_is_above_127(place: Path) -> None:
    sample, _ = read_salient("ecssd", place / "ECSSD", place / "ECSSD")["test"].entries[0].read()
    expected = np.zeros(SIZE, dtype=bool)
    expected[10:21, 10:30] = True
    (salient,) = sample.objects
    assert np.array_equal(salient.mask, expected)
    assert salient.box == (10.0, 10.0, 20.0, 11.0)
    (example,) = get_task("referring_segmentation").examples(sample, np.random.default_rng(0))
    assert "the most salient object" in example.prompt
    assert example.reply == "The most salient object <OBJ>."


def test_pairs_that_are_none_are_named(place: Path) -> None:
    masks = place / "ECSSD" / "ground_truth_mask"
    (masks / "im0.png").rename(masks / "im7.png")
    picture(place / "ECSSD" / "images" / "im8.jpg", 1)
    write_mask(masks / "im8.png", (30, 40))
    picture(place / "ECSSD" / "images" / "im9.jpg", 1)
    Image.new("L", SIZE[::-1]).save(masks / "im9.png")
    (masks / "im1.png").write_bytes((masks / "im1.png").read_bytes()[:60])
    split = read_salient("ecssd", place / "ECSSD", place / "ECSSD")["test"]
    assert split.counts == {"images": 4, "masks": 4}
    reasons = {}
    for entry in split:
        with pytest.raises((BadRecord, InputError)) as caught:
            entry.read()
        reasons[entry.name] = str(caught.value)
    assert reasons["im0"] == "it has a picture and no mask"
    assert reasons["im7"] == "it has a mask and no picture"
    assert "im8.png has 30 rows and 40 columns, not (40, 60)" in reasons["im8"]
    assert reasons["im9"] == "the mask is empty"
    assert "im1.png is truncated or damaged" in reasons["im1"]


def test_no_masks(place: Path) -> None:
    with pytest.raises(InputError, match="holds no folder DUTS-TR-Mask or DUTS-TE-Mask of masks"):
        read_salient("duts", place / "ECSSD", place / "ECSSD")
