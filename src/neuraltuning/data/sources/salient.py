"""DUTS, DUT-OMRON and ECSSD: a folder of pictures and one of grey masks of what stands out, paired by name.

DUTS-TR/DUTS-TR-Image/a.jpg             DUTS-TR/DUTS-TR-Mask/a.png
DUT-OMRON-image/a.jpg                   pixelwiseGT-new-PNG/a.png
images/a.jpg                            ground_truth_mask/a.png
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from neuraltuning.data.sample import ObjectAnnotation, Phrase, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, read_mask, read_picture
from neuraltuning.errors import InputError

FOLDERS: dict[str, dict[str, tuple[str, str]]] = {
    "duts": {"train": ("DUTS-TR-Image", "DUTS-TR-Mask"), "test": ("DUTS-TE-Image", "DUTS-TE-Mask")},
    "dut-omron": {"test": ("DUT-OMRON-image", "pixelwiseGT-new-PNG")},
    "ecssd": {"test": ("images", "ground_truth_mask")},
}
"""Data set -> split -> its folders of pictures and of masks."""
PUBLISHED = {("duts", "test"): 5_019, ("dut-omron", "test"): 5_168, ("ecssd", "test"): 1_000}
PHRASE = "the most salient object"
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def read_salient(name: str, folder: Path, images: Path) -> dict[str, Split]:
    """The splits of a data set of salient objects whose masks are there.

    Args:
        name: "duts", "dut-omron" or "ecssd".
        folder: with the folder of masks, or a folder above it.
        images: with the folder of pictures, or a folder above it; the same folder, as it is published.

    Raises:
        InputError: there are no masks, or no pictures to them.
    """
    splits = {}
    for split, (of_pictures, of_masks) in FOLDERS[name].items():
        masks = _files(folder, of_masks)
        if not masks:
            continue
        pictures = _files(images, of_pictures)
        if not pictures:
            raise InputError(f"{folder} has the masks {of_masks}, but {images} no folder {of_pictures} of pictures.")
        entries = [
            Entry(stem, partial(_read, name, f"{name}-{split}-{stem}", pictures.get(stem), masks.get(stem)))
            for stem in sorted(pictures | masks)
        ]
        known = {"images": PUBLISHED[name, split]} if (name, split) in PUBLISHED else {}
        splits[split] = Split(entries, {"images": len(pictures), "masks": len(masks)}, known)
    if not splits:
        wanted = " or ".join(of_masks for _, of_masks in FOLDERS[name].values())
        raise InputError(f"{folder} holds no folder {wanted} of masks.")
    return splits


def _files(folder: Path, name: str) -> dict[str, Path]:
    """Stem -> picture in the folder called `name`: this one, one in it, or one below that, the first with pictures."""
    candidates = [folder] * (folder.name == name) + [folder / name, *sorted(folder.glob(f"*/{name}"))]
    for candidate in candidates:
        found = sorted(candidate.iterdir()) if candidate.is_dir() else []
        files = {p.stem: p for p in found if p.suffix.lower() in PICTURES and not p.name.startswith(".")}
        if files:
            return files
    return {}


def _read(name: str, identity: str, picture: Path | None, mask: Path | None) -> tuple[Sample, bytes]:
    if picture is None or mask is None:
        raise BadRecord("it has a mask and no picture" if picture is None else "it has a picture and no mask")
    image, data = read_picture(picture.parent, picture.name)
    covered, box = read_mask(mask.parent, mask.name, (image.height, image.width))
    salient = ObjectAnnotation("", "", covered, box, (Phrase(PHRASE, ""),))
    return Sample(identity, image, (salient,), source=name, license=f"LicenseRef-{name.upper()}"), data
