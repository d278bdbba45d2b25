"""The data card: what the data and the manifest say, nothing else, and no hand-written card is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from neuraltuning.data.convert import MANIFEST, convert
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.errors import InputError
from neuraltuning.mmud.describe import describe
from neuraltuning.mmud.records import Review
from neuraltuning.mmud.split import split
from tests.data.sources.published import refer
from tests.data.test_check import store
from tests.mmud.data import write_data
from tests.mmud.review.tagged import write_tagged


def front_matter(card: str) -> dict[str, object]:
    _, matter, _ = card.split("---\n", 2)
    return yaml.safe_load(matter)


def test_the_card_of_a_built_data_set(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=12)
    for item in workspace.ids()[:3]:
        for person in ("Ada", "Ben"):
            answer = workspace.taggings.last()[item].answer
            workspace.reviews.append(Review(id=item, reviewer=person, decision="accept", answer=answer))
    split(tmp_path / "work", tmp_path / "cats", validation=0.1, test=0.1, unreviewed=True)
    card = describe(tmp_path / "cats").read_text(encoding="utf-8")
    assert front_matter(card) == {
        "pretty_name": "cats",
        "license": ["cc-by-sa-4.0"],
        "task_categories": ["image-segmentation", "image-to-text", "visual-question-answering"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": name, "path": f"{name}/*.parquet"} for name in ("train", "validation", "test")
                ],
            }
        ],
    }
    assert "| train | 10 |" in card
    assert "| captions, questions and answers | models: scenes (12); prompts: none |" in card
    assert "2 people, 3 items, 3 of them by several, who decide alike in 100% and tag alike in 100%" in card
    assert "Nobody reviewed 9 of the 12 answers" in card
    assert "| CC-BY-SA-4.0 | scenes | 12 |" in card
    assert "Ada" not in card
    assert Image.open(tmp_path / "cats" / "distributions.png").width > 1000


def test_the_card_of_a_converted_data_set(tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "train2014")
    (tmp_path / "train2014" / "COCO_train2014_000000000012.jpg").unlink()
    convert("refcoco", tmp_path / "refcoco", tmp_path / "train2014", tmp_path / "out", max_left_out=0.5)
    card = describe(tmp_path / "out").read_text(encoding="utf-8")
    assert "from the format `refcoco`" in card
    assert front_matter(card)["task_categories"] == ["image-segmentation"]
    assert "1 records could not be used and were left out" in card
    assert "How it was made" not in card


def test_licences_of_every_sort(tmp_path: Path) -> None:
    scenes = list(SceneDataset("train", 4))
    licenses = ("", "MIT", "LicenseRef-Flickr", "MIT")
    store(tmp_path / "out", {"train": [replace(s, license=n) for s, n in zip(scenes, licenses, strict=True)]})
    card = describe(tmp_path / "out").read_text(encoding="utf-8")
    assert front_matter(card)["license"] == ["mit", "other", "unknown"]
    assert "The licence of 1 images is not known." in card
    assert "under different licences" in card


def test_text_can_be_no_markup(tmp_path: Path) -> None:
    (scene,) = SceneDataset("train", 1)
    store(tmp_path / "out", {"train": [replace(scene, source="a|b\n<script> [x](http://y)")]})
    card = describe(tmp_path / "out").read_text(encoding="utf-8")
    assert r"| CC-BY-SA-4.0 | a\|b &lt;script&gt; \[x\](http://y) | 1 |" in card


def test_a_card_that_someone_edited_is_kept(tmp_path: Path) -> None:
    card = describe(write_data(tmp_path / "out", train=2))
    first = card.read_text(encoding="utf-8")
    describe(tmp_path / "out")  # its own card is written again
    assert card.read_text(encoding="utf-8") == first
    for text in (first.replace("# out", "# My cats"), "# Mine\n", ""):
        card.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"README\.md was written or edited by hand"):
            describe(tmp_path / "out")
        assert card.read_text(encoding="utf-8") == text


def test_folders_without_data_and_damaged_manifests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no split"):
        describe(tmp_path / "nowhere")
    write_data(tmp_path / "out", train=1)
    for text in ("{", "[]", '{"splits": 3}', '{"splits": {}, "built": {"taken": 3}}'):
        (tmp_path / "out" / MANIFEST).write_text(text)
        with pytest.raises(InputError, match=r"dataset\.json is damaged"):
            describe(tmp_path / "out")
    assert not (tmp_path / "out" / "README.md").exists()
