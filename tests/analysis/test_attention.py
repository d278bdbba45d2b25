"""Attention of replies, drawn and counted: files as documented, lifts by hand, bad input in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.analysis import attention
from neuraltuning.analysis.attention import Asked, analyse_attention, split_replies
from neuraltuning.analysis.inspection import PARTS, Inspection, Look, inspect_reply
from neuraltuning.analysis.results import ATTENTION
from neuraltuning.model import MultitaskModel
from tests.analysis.conftest import strict_json
from tests.command_line import Run
from tests.tiny_models import LAYERS, sample

SQUARES = sample()
HEADS = 4


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "squares.png"
    SQUARES.image.save(path)
    return path


def test_a_picture_with_a_given_reply(run: Path, image: Path, tmp_path: Path, command: Run) -> None:
    reply = "The red square <OBJ> and the blue square <OBJ>."
    status, said, _ = command(
        *("analyse", "attention", run, "--image", image, "--text", "Segment both.", "--reply", reply),
        *("--word", "blue", "--layer", 1, "--output", tmp_path / "out"),
    )
    assert status == 0 and said.splitlines()[-1] == str(tmp_path / "out" / "attention.json")
    found = strict_json(tmp_path / "out" / "attention.json")
    assert found["format_version"] == ATTENTION.version and found["replies"] == 1 and "lift" not in found
    [item] = found["items"]
    assert (item["id"], item["text"], item["reply"]) == ("squares.png", "Segment both.", reply)
    assert [look["word"] for look in item["looks"]] == ["<OBJ>", "<OBJ>", "blue"]
    model = MultitaskModel.from_pretrained(run)
    looks = inspect_reply(model, SQUARES.image, "Segment both.", reply, ["blue"]).looks
    with np.load(tmp_path / "out" / item["weights"]) as arrays:
        for place, (entry, look) in enumerate(zip(item["looks"], looks, strict=True), start=1):
            assert arrays[f"weights_{place}"] == pytest.approx(look.weights, abs=1e-6)
            assert arrays[f"described_{place}"].shape == (LAYERS, HEADS, 4, 4)
            assert entry["map"] == pytest.approx(look.map, abs=1e-5)
            assert list(entry["shares"]) == list(PARTS) and sum(entry["shares"].values()) == pytest.approx(1, abs=1e-3)
            assert len(entry["patches_by_layer"]) == LAYERS
            assert entry["pictures"] == [f"1-{place}-layers.png", f"1-{place}-layer-1.png"]
    for name in (item["picture"], *(name for look in item["looks"] for name in look["pictures"])):
        assert min(Image.open(tmp_path / "out" / name).size) > 150


def test_a_picture_with_the_models_own_reply(
    run: Path, image: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuraltuning.model.MAX_NEW_TOKENS", 12)
    arguments = ("analyse", "attention", run / "model", "--image", image, "--text", "Segment the red square.")
    status, _, error = command(*arguments, "--output", tmp_path / "out")
    reply = MultitaskModel.from_pretrained(run).reply(SQUARES.image, "Segment the red square.").text
    if "<OBJ>" in reply:
        assert strict_json(tmp_path / "out" / "attention.json")["items"][0]["reply"] == reply
    else:
        assert status == 2 and "has no <OBJ>; name a word of it with --word" in error


def test_a_split_is_counted_and_the_first_are_drawn(
    run: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "DRAWN", 2)
    status, said, _ = command(
        "analyse", "attention", run, "--split", "validation", "--samples", 3, "--output", tmp_path
    )
    found = strict_json(tmp_path / "attention.json")
    assert status == 0 and found["replies"] == found["lift"]["n"] == 6  # referring and reasoning segmentation
    assert len(found["items"]) == 2 and (tmp_path / "2.png").is_file() and not (tmp_path / "3.png").exists()
    for key in ("object", "other_objects", "difference"):
        low, high = found["lift"]["patches"][f"{key}_ci95"]
        assert low <= found["lift"]["patches"][key] <= high
    assert len(found["lift"]["patches"]["object_by_layer"]) == LAYERS
    assert "On patches, the object meant gets" in said


def look(weights: np.ndarray, described: np.ndarray) -> Look:
    """A look of one layer and one head."""
    shares = {part: np.zeros((1, 1), dtype=np.float32) for part in PARTS}
    return Look("<OBJ>", (2,), weights[None, None], described[None, None], shares)


def test_lift_is_the_objects_share_of_attention_over_its_share_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = np.zeros((2, 2), dtype=np.float32)
    on_object, even = grid.copy(), grid + 0.01
    on_object[0, 0] = 0.2
    looks = iter([look(on_object, even), look(even * 2, on_object)])
    monkeypatch.setattr(attention, "inspect_reply", lambda *arguments: Inspection(("x",), {}, (next(looks),)))
    monkeypatch.setattr(attention, "_draw", lambda *arguments: {"reply": "", "looks": []})
    mask, others = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    mask[:4, :4] = True  # the top left patch
    others[4:, :4] = True
    asked = [Asked(str(i), Image.new("RGB", (8, 8)), "", "<OBJ>", mask[None], others) for i in range(2)]
    model: Any = None
    lift = analyse_attention(model, asked, tmp_path)["lift"]
    # patches: 0.2 of 0.2 on a quarter of the image, and 0.02 of 0.08
    assert lift["patches"]["object"] == pytest.approx((0.2 + 0.02) / (0.25 * (0.2 + 0.08)))
    assert lift["patches"]["other_objects"] == pytest.approx((0.0 + 0.02) / (0.25 * (0.2 + 0.08)))
    assert lift["patches"]["difference"] == pytest.approx(lift["patches"]["object"] - lift["patches"]["other_objects"])
    assert lift["described"]["object"] == pytest.approx((0.01 + 0.2) / (0.25 * (0.04 + 0.2)))
    assert lift["patches"]["object_by_layer"] == [pytest.approx(lift["patches"]["object"], abs=1e-4)]


def test_the_replies_of_a_split_know_what_else_is_in_the_image(run: Path) -> None:
    asked = split_replies(run, "validation", 1)
    assert len(asked) == 2
    for one in asked:
        assert one.reply.count("<OBJ>") == len(one.masks) and one.others is not None
        assert not (one.others & one.masks.any(0)).any()
    [reasoning] = [one for one in asked if "reasoning" in one.id]
    assert (reasoning.others == SQUARES.objects[0].mask).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either --image with --text, or --split."),
        (["--image", "IMAGE", "--split", "test"], "Give either --image with --text, or --split."),
        (["--image", "IMAGE"], "--image needs --text"),
        (["--split", "test", "--text", "x"], "--text, --reply and --word go with an --image"),
        (["--split", "test", "--word", "cat"], "--text, --reply and --word go with an --image"),
        (["--image", "nowhere.png", "--text", "x"], "nowhere.png"),
        (["--image", "IMAGE", "--text", "x", "--reply", "Two."], "has no <OBJ>; name a word of it with --word"),
        (["--image", "IMAGE", "--text", "x", "--reply", "A <OBJ>.", "--word", "cat"], "has no word 'cat'"),
        (["--image", "IMAGE", "--text", "x", "--reply", "A <OBJ>.", "--layer", "9"], "layers are 0 to 2"),
    ],
)
def test_bad_input_is_a_sentence(
    run: Path, image: Path, tmp_path: Path, command: Run, arguments: list[str], message: str
) -> None:
    given = [str(image) if argument == "IMAGE" else argument for argument in arguments]
    status, said, error = command("analyse", "attention", run, *given, "--output", tmp_path / "out")
    assert status == 2 and message in error and not said
    assert not (tmp_path / "out" / "attention.json").exists()
