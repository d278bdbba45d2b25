"""SNLI-VE's lines: sentences by image, the image's field in its spellings, and lines that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sources.snli_ve import read_snli_ve
from neuraltuning.errors import InputError
from neuraltuning.reply import Reply
from neuraltuning.tasks import ScoringResources, get_task
from tests.data.sources.published import picture


def line(image: str = "4705552913", label: str = "entailment", **fields: Any) -> dict[str, Any]:
    return {
        "Flickr30K_ID": image,
        "annotator_labels": [label] * 3,
        "captionID": f"{image}.jpg#2",
        "gold_label": label,
        "pairID": f"{image}.jpg#2r1e",
        "sentence1": "Two women are embracing while holding to go packages.",
        "sentence1_binary_parse": "( ( Two women ) ... )",
        "sentence2": "Two woman are holding  packages.",
        **fields,
    }


def snli_ve(place: Path, *lines: Any, name: str = "dev") -> None:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in lines)
    (place / f"snli_ve_{name}.jsonl").write_text(text + "\n", encoding="utf-8")
    for image in ("4705552913", "2407214681"):
        picture(place / "flickr30k-images" / f"{image}.jpg", 1)


def test_pairs_become_questions_by_image(tmp_path: Path) -> None:
    snli_ve(tmp_path, line(), line("2407214681", "neutral"), "", line(label="contradiction", sentence2="It's a café."))
    snli_ve(tmp_path, line(), name="train")
    splits = read_snli_ve(tmp_path, tmp_path / "flickr30k-images")
    assert splits["train"].published == {"pairs": 529_527}
    assert splits["validation"].counts == {"images": 2, "pairs": 3}
    other, sample = (entry.read()[0] for entry in splits["validation"])
    assert (sample.id, other.id) == ("snli-ve-validation-4705552913", "snli-ve-validation-2407214681")
    assert [(q.question, q.answer) for q in sample.questions] == [
        (
            'Is the sentence "Two woman are holding packages." an entailment of the image, neutral to it, '
            "or a contradiction?",
            "entailment",
        ),
        (
            'Is the sentence "It\'s a café." an entailment of the image, neutral to it, or a contradiction?',
            "contradiction",
        ),
    ]


@pytest.mark.parametrize("field", ["Flickr30K_ID", "Flickr30kID", "Flikr30kID", "Flikr30K_ID"])
@pytest.mark.parametrize("value", ["4705552913", "4705552913.jpg", 4705552913])
def test_spellings_of_the_image(tmp_path: Path, field: str, value: Any) -> None:
    fields = {key: item for key, item in line().items() if key != "Flickr30K_ID"}
    snli_ve(tmp_path, {**fields, field: value})
    (entry,) = read_snli_ve(tmp_path, tmp_path / "flickr30k-images")["validation"]
    assert entry.read()[0].id == "snli-ve-validation-4705552913"


def test_a_reply_is_right_or_wrong(tmp_path: Path) -> None:
    snli_ve(tmp_path, line())
    (entry,) = read_snli_ve(tmp_path, tmp_path / "flickr30k-images")["validation"]
    task = get_task("visual_question_answering")
    (example,) = task.examples(entry.read()[0], np.random.default_rng(0))
    for reply, accuracy in (("Entailment.", 1.0), ("neutral", 0.0)):
        metric = task.metric(ScoringResources())
        metric.update(example, Reply(reply))
        assert metric.compute()["accuracy"] == accuracy


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(label="-"), "line 2, gold_label: input should be 'entailment', 'neutral' or 'contradiction'"),
        ({"gold_label": "neutral", "sentence2": "A."}, "line 2, flickr30k_id: field required"),
        ('{"Flickr30K_ID": "47055', "line 2, it is no JSON"),
        ("[]", "line 2, the whole of it: input should be"),
    ],
)
def test_damaged_lines(tmp_path: Path, bad: Any, message: str) -> None:
    snli_ve(tmp_path, line(), bad)
    with pytest.raises(InputError, match=message):
        read_snli_ve(tmp_path, tmp_path / "flickr30k-images")


def test_wrong_encodings_and_no_files(tmp_path: Path) -> None:
    snli_ve(tmp_path, line())
    path = tmp_path / "snli_ve_dev.jsonl"
    path.write_bytes(json.dumps(line(sentence2="café"), ensure_ascii=False).encode("cp1252"))
    with pytest.raises(InputError, match=r"snli_ve_dev\.jsonl, line 1, is no text in UTF-8"):
        read_snli_ve(tmp_path, tmp_path / "flickr30k-images")
    path.unlink()
    with pytest.raises(InputError, match="holds none of SNLI-VE's files"):
        read_snli_ve(tmp_path, tmp_path / "flickr30k-images")
