from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from neuraltuning import InputError, Query, Reply, RunError
from neuraltuning.prediction import (
    MAX_TEXT,
    Answer,
    Request,
    answer_request,
    answer_requests,
    folder_requests,
    make_request,
    model_stamp,
    read_requests,
)


class FakeModel:
    """Masks the left half as often as the text has words, or draws where it says so; counts what it is asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        self.batches.append([query.text for query in queries])
        if any("endless" in query.text for query in queries):
            raise InputError("The text is longer than the model's context.")
        return [self._reply(query) for query in queries]

    def _reply(self, query: Query) -> Reply:
        if query.image is None:
            return Reply("Here: <GEN>", images=(Image.new("RGB", (8, 8), (query.seed, 0, 0)),))
        masks = np.zeros((len(query.text.split()), query.image.height, query.image.width), dtype=bool)
        masks[:, :, : query.image.width // 2] = True
        return Reply("It is <OBJ>.", masks=masks, scores=np.full(len(masks), 0.75, dtype=np.float32))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.new("RGB", (6, 4), "green").save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def record(folder: Path) -> Any:
    return json.loads((folder / "reply.json").read_text())


def write_lines(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_answer_holds_masks_in_coco_terms(tmp_path: Path, picture: Path) -> None:
    request = make_request({"text": "left side", "image": str(picture)}, "--text")
    reply = answer_request(FakeModel(), request, tmp_path / "out", stamp="model 1")
    assert reply.text == "It is <OBJ>."
    assert names(tmp_path / "out") == ["mask-1.png", "mask-2.png", "overlay.png", "reply.json"]
    answer = record(tmp_path / "out")
    assert answer["text"] == "It is <OBJ>."
    assert answer["request"]["text"] == "left side"
    assert answer["images"] == []
    first = answer["objects"][0]
    assert (first["mask"], first["bbox"], first["area"], first["score"]) == ("mask-1.png", [0, 0, 3, 4], 12, 0.75)
    decoded = coco.decode(first["segmentation"]).astype(bool)
    written = np.asarray(Image.open(tmp_path / "out" / "mask-1.png").convert("L")) > 0
    np.testing.assert_array_equal(decoded, reply.masks[0])
    np.testing.assert_array_equal(written, reply.masks[0])
    assert Image.open(tmp_path / "out" / "overlay.png").size == (6, 4)


def test_drawing_is_written_and_follows_its_seed(tmp_path: Path) -> None:
    for seed in (3, 9):
        answer_request(FakeModel(), make_request({"text": "Draw a cat.", "seed": seed}, ""), tmp_path)
        assert names(tmp_path) == ["image-1.png", "reply.json"]
        assert Image.open(tmp_path / "image-1.png").getpixel((0, 0)) == (seed, 0, 0)
    assert record(tmp_path)["images"] == ["image-1.png"]


def test_new_answer_replaces_the_old_one_and_nothing_else(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "mask-notes.txt").touch()
    for text in ("one two three", "one"):
        answer_request(FakeModel(), Request(text=text, image=str(picture)), tmp_path)
    assert names(tmp_path) == ["cat.png", "mask-1.png", "mask-notes.txt", "overlay.png", "reply.json"]


def test_requests_are_answered_in_batches_and_in_order(tmp_path: Path, picture: Path) -> None:
    model = FakeModel()
    requests = [Request(id=f"r{number}", text=f"text {number}", image=str(picture)) for number in range(5)]
    answers = list(answer_requests(model, requests, tmp_path / "out", batch_size=2))
    assert model.batches == [["text 0", "text 1"], ["text 2", "text 3"], ["text 4"]]
    assert [answer.request.id for answer in answers] == ["r0", "r1", "r2", "r3", "r4"]
    assert names(tmp_path / "out") == ["r0", "r1", "r2", "r3", "r4"]
    assert record(tmp_path / "out" / "r3")["request"]["text"] == "text 3"


def test_answered_requests_are_not_asked_again(tmp_path: Path, picture: Path) -> None:
    requests = [Request(id=name, text=name, image=str(picture)) for name in "abc"]
    assert len(list(answer_requests(FakeModel(), requests[:2], tmp_path, stamp="m"))) == 2
    (tmp_path / "b" / "reply.json").unlink()  # as if interrupted before it was finished
    model = FakeModel()
    answers = list(answer_requests(model, requests, tmp_path, stamp="m"))
    assert model.batches == [["b", "c"]]
    assert [(answer.request.id, answer.reply is None) for answer in answers] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]


def test_each_answer_is_on_disk_before_the_next_batch(tmp_path: Path, picture: Path) -> None:
    requests = [Request(id=name, text=name, image=str(picture)) for name in "abc"]
    answers = answer_requests(FakeModel(), requests, tmp_path / "out", batch_size=1)
    next(answers)
    assert names(tmp_path / "out") == ["a"]
    assert record(tmp_path / "out" / "a")


def test_changed_request_or_model_is_asked_again(tmp_path: Path, picture: Path) -> None:
    def asked(request: Request, stamp: str) -> bool:
        model = FakeModel()
        list(answer_requests(model, [request], tmp_path, stamp=stamp))
        return bool(model.batches)

    request = Request(id="a", text="cat", image=str(picture))
    assert [asked(request, "m1"), asked(request, "m1"), asked(request, "m2")] == [True, False, True]
    assert asked(request.model_copy(update={"text": "dog"}), "m2")
    assert asked(request.model_copy(update={"seed": 1}), "m2")


def test_stamp_changes_with_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    first = model_stamp(tmp_path)
    (tmp_path / "report.html").touch()
    assert model_stamp(tmp_path) == first
    weights.write_bytes(b"another")
    assert model_stamp(tmp_path) != first


def test_unusable_requests_do_not_stop_the_others(tmp_path: Path, picture: Path) -> None:
    requests = [
        Request(id="a", text="a", image=str(picture)),
        Request(id="b", text="b", image=str(tmp_path / "none.png")),
        Request(id="c", text="endless", image=str(picture)),
        Request(id="d", text="d", image=str(picture)),
    ]
    answers = list(answer_requests(FakeModel(), requests, tmp_path / "out", batch_size=4))
    errors = {answer.request.id: str(answer.error) for answer in answers if answer.error}
    assert set(errors) == {"b", "c"}
    assert errors["b"] == f"There is no image {tmp_path / 'none.png'}."
    assert errors["c"] == "The text is longer than the model's context."
    assert names(tmp_path / "out") == ["a", "d"]


def test_single_unusable_request_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no image"):
        answer_request(FakeModel(), Request(text="a", image=str(tmp_path / "none.png")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unwritable_output_is_a_run_error(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Could not write"):
        answer_request(FakeModel(), Request(text="a", image=str(picture)), tmp_path / "file" / "out")


def test_requests_file(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "requests.jsonl",
        {"id": "first", "image": "pictures/a.png", "text": "Please segment the cat."},
        "",
        {"text": "Draw a cat.", "seed": 5, "max_new_tokens": 9},
        {"text": "What is it?", "image": "/absolute/b.png"},
    )
    assert read_requests(path) == [
        Request(id="first", image=str(tmp_path / "pictures/a.png"), text="Please segment the cat."),
        Request(id="line-000003", text="Draw a cat.", seed=5, max_new_tokens=9),
        Request(id="line-000004", text="What is it?", image="/absolute/b.png"),
    ]


def test_only_line_feeds_end_a_request(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_bytes('\ufeff{"text": "one\u2028two"}\r\n{"text": "three"}\r\n'.encode())
    assert [request.text for request in read_requests(tmp_path / "requests.jsonl")] == ["one\u2028two", "three"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("[" * 100_000, "no JSON|nested too deeply"),
        ("[1]", "not an object"),
        ({"image": "a.png"}, "the key text is missing"),
        ({"txt": "a"}, "there is no key txt; did you mean text?"),
        ({"text": 3}, "text is 3, but must be text"),
        ({"text": "  "}, "the text is empty"),
        ({"text": "a" * (MAX_TEXT + 1)}, "the text has 100,001 characters; at most 100,000 are taken"),
        ({"text": "a", "seed": -1}, "seed is -1, but must be greater than or equal to 0"),
        ({"text": "a", "seed": 2**70}, "seed is 1180591620717411303424, but must be less than"),
        ({"text": "a", "seed": 1.5}, "seed is 1.5, but must be a whole number"),
        ({"text": "a", "max_new_tokens": 0}, "max_new_tokens is 0, but must be greater than or equal to 1"),
        ({"text": "a", "id": "../outside"}, "the id '../outside' can't name a folder"),
        ({"text": "a", "id": "first"}, "the id 'first' is that of line 1 too"),
    ],
)
def test_bad_line_is_named_by_file_and_line(tmp_path: Path, line: Any, said: str) -> None:
    path = write_lines(tmp_path / "requests.jsonl", {"id": "first", "text": "a"}, line)
    with pytest.raises(InputError) as caught:
        read_requests(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert any(part in message for part in said.split("|"))
    assert len(message) < 400


def test_unusable_requests_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no requests file"):
        read_requests(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no request"):
        read_requests(write_lines(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_requests(tmp_path / "binary.jsonl")


def test_folder_of_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert folder_requests(tmp_path, "What is it?", seed=2) == [
        Request(id="a.JPG", text="What is it?", image=str(tmp_path / "a.JPG"), seed=2),
        Request(id="b.png", text="What is it?", image=str(tmp_path / "b.png"), seed=2),
    ]


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder of images"):
        folder_requests(tmp_path / "none", "a")
    with pytest.raises(InputError, match="holds no image"):
        folder_requests(tmp_path, "a")
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="the text is empty"):
        folder_requests(tmp_path, "")


def test_answer_knows_where_it_is(tmp_path: Path, picture: Path) -> None:
    [answer] = answer_requests(FakeModel(), [Request(id="a", text="a", image=str(picture))], tmp_path)
    assert isinstance(answer, Answer)
    assert answer.folder == tmp_path / "a"
