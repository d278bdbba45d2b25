"""Replies through the public interface: texts, masks, pictures, batches, seeds, and unusable requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.packing import Packer
from neuraltuning.reply import Reply
from neuraltuning.tasks import Example
from tests.tiny_models import lively, model_settings, sample

SQUARES = [sample(0), sample(1, (36, 64))]


def segmentation(number: int, places: tuple[int, ...]) -> Example:
    """A request for some squares of an image, in this order."""
    objects = [SQUARES[number].objects[i] for i in places]
    phrases = [o.phrases[0].text for o in objects]
    return Example(
        task="referring_segmentation",
        id=f"{number}",
        image=SQUARES[number].image,
        prompt=f"Segment {' and '.join(phrases)}.",
        reply=" and ".join(f"{phrase} <OBJ>" for phrase in phrases) + ".",
        targets={"<OBJ>": [o.mask for o in objects]},
    )


EXAMPLES = [
    segmentation(0, (0,)),
    segmentation(0, (1,)),
    segmentation(1, (1, 0)),
    Example("visual_question_answering", "q", SQUARES[0].image, "How many squares?", "2"),
    Example(
        "text_to_image",
        "d",
        None,
        "Draw: Two squares.",
        "Here is the picture <GEN>.",
        {"<GEN>": [SQUARES[1].image]},
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> MultitaskModel:
    """A tiny model that knows `EXAMPLES` by heart."""
    model = lively(MultitaskModel.build(model_settings(folder))).train()
    batch = Packer(model, 1000)([EXAMPLES[:2] + EXAMPLES[3:4], EXAMPLES[2:3], EXAMPLES[4:]])
    parameters = list(model.trainable_parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=2e-2, weight_decay=0.0)
    torch.manual_seed(0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(batch).total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return model.eval()


STEPS = 200


@pytest.fixture(scope="module")
def wild(folder: Path) -> MultitaskModel:
    """A tiny model that writes words and task tokens at random, but always the same."""
    return lively(MultitaskModel.build(model_settings(folder)))


def ask(model: MultitaskModel, examples: list[Example]) -> list[Reply]:
    return model.reply_batch([Query(e.image, e.prompt, max_new_tokens=40) for e in examples])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def same(one: Reply, other: Reply) -> None:
    """Fails unless two replies are equal: text, masks, scores, pictures."""
    assert one.text == other.text
    np.testing.assert_array_equal(one.masks, other.masks)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    for ours, theirs in zip(one.images, other.images, strict=True):  # rounding may tip a pixel
        np.testing.assert_allclose(np.asarray(ours, dtype=int), np.asarray(theirs, dtype=int), atol=1)
    assert one.decoded.keys() == other.decoded.keys()


def test_what_was_learnt_is_answered_with_masks_at_the_images_size(model: MultitaskModel) -> None:
    for example in EXAMPLES:
        reply = model.reply(example.image, example.prompt)
        assert reply.text == example.reply
        targets = example.targets.get("<OBJ>", ())
        height, width = (0, 0) if example.image is None else (example.image.height, example.image.width)
        assert reply.masks.shape == (len(targets), height, width)
        assert reply.masks.dtype == np.bool_
        assert reply.scores.shape == (len(targets),)
        assert ((reply.scores > 0.5) & (reply.scores <= 1.0)).all()
        assert reply.boxes.shape == (len(targets), 4)
        assert len(reply.images) == len(example.targets.get("<GEN>", ()))


def test_the_masks_stand_in_the_order_of_the_mentions(model: MultitaskModel) -> None:
    [reply] = ask(model, [EXAMPLES[2]])
    assert reply.text == "the blue square <OBJ> and the red square <OBJ>."
    blue, red = EXAMPLES[2].targets["<OBJ>"]
    assert iou(reply.masks[0], blue) > 0.4 > iou(reply.masks[0], red)
    assert iou(reply.masks[1], red) > 0.4 > iou(reply.masks[1], blue)
    assert [len(reply.decoded[token]) for token in reply.decoded] == [2]


def test_a_picture_is_drawn_from_its_token(model: MultitaskModel) -> None:
    [reply] = ask(model, [EXAMPLES[4]])
    [picture] = reply.images
    assert picture.size == (16, 16)
    assert picture.mode == "RGB"
    assert reply.decoded["<GEN>"] == (picture,)


def test_teacher_forced_masks_are_those_of_an_equal_free_reply(model: MultitaskModel) -> None:
    free, forced = ask(model, EXAMPLES), model.teacher_forced(EXAMPLES)
    for one, other in zip(free, forced, strict=True):
        same(one, other)
    assert sum(len(reply.masks) for reply in forced) == 4


def test_teacher_forcing_reads_the_true_reply_whatever_the_model_would_say(wild: MultitaskModel) -> None:
    forced = wild.teacher_forced(EXAMPLES)
    assert [reply.text for reply in forced] == [e.reply for e in EXAMPLES]
    assert [len(reply.masks) for reply in forced] == [1, 1, 2, 0, 0]
    assert [len(reply.images) for reply in forced] == [0, 0, 0, 0, 1]
    for reply, example in zip(forced, EXAMPLES, strict=True):
        same(reply, wild.teacher_forced([example])[0])


QUERIES = [
    Query(SQUARES[0].image, "Please segment the red square.", max_new_tokens=24),
    Query(SQUARES[1].image, "a", max_new_tokens=30),
    Query(SQUARES[1].image, "What is in this picture? " * 8, max_new_tokens=30),
    Query(SQUARES[0].image, "How many squares?", max_new_tokens=1),
    Query(SQUARES[0].image.convert("L"), "Mark the blue square in the image.", max_new_tokens=20, seed=3),
    Query(Image.new("RGB", (9, 5), "red"), "Find the red square.", max_new_tokens=20),
]


def test_batched_replies_equal_single_ones(wild: MultitaskModel) -> None:
    together = wild.reply_batch(QUERIES)
    for query, reply in zip(QUERIES, together, strict=True):
        same(reply, wild.reply_batch([query])[0])
        assert query.image is not None
        assert reply.masks.shape[1:] == (query.image.height, query.image.width)
    for reply, other in zip(together[::-1], wild.reply_batch(QUERIES[::-1]), strict=True):
        same(reply, other)
    # this says something only if the replies are of all sorts
    assert sum(len(reply.masks) for reply in together) > 4
    assert max(len(reply.masks) for reply in together) > 1
    assert any(mask.any() and not mask.all() for reply in together for mask in reply.masks)
    assert len({reply.text for reply in together}) > 2


def test_requests_with_and_without_an_image_share_a_batch(model: MultitaskModel) -> None:
    order = [4, 0, 3, 4, 2, 1]
    for number, reply in zip(order, ask(model, [EXAMPLES[i] for i in order]), strict=True):
        assert reply.text == EXAMPLES[number].reply
        same(reply, ask(model, [EXAMPLES[number]])[0])


def test_a_reply_repeats_itself_and_the_seed_changes_pictures_alone(model: MultitaskModel) -> None:
    drawn = [model.reply(None, "Draw: Two squares.", seed=seed) for seed in (0, 0, 1, 2, 3)]
    same(drawn[0], drawn[1])
    assert {reply.text for reply in drawn} == {drawn[0].text}
    assert len({reply.images[0].tobytes() for reply in drawn}) > 1
    mask = [model.reply(SQUARES[0].image, EXAMPLES[0].prompt, seed=seed) for seed in (0, 7)]
    same(mask[0], mask[1])


def test_the_image_decides(model: MultitaskModel) -> None:
    """The mask follows the picture, not only the words."""
    seen = model.teacher_forced([EXAMPLES[0]])[0]
    blank = model.teacher_forced([replace(EXAMPLES[0], image=Image.new("RGB", SQUARES[0].image.size, "gray"))])[0]
    assert not np.array_equal(seen.masks, blank.masks)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_refused(wild: MultitaskModel, text: str) -> None:
    with pytest.raises(InputError, match=r"^The text is empty; .*\.$"):
        wild.reply(SQUARES[0].image, text)


@pytest.mark.parametrize("text", ["blue " * 600, "x" * 100_000, "\n" * 100_000 + "a" + " b" * 50_000])
def test_an_over_long_text_is_refused(wild: MultitaskModel, text: str) -> None:
    with pytest.raises(InputError, match=r"too long .* shorten it\.$") as caught:
        wild.reply(SQUARES[0].image, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_text_that_just_fits_is_answered(wild: MultitaskModel) -> None:
    longest = next(n for n in range(600, 0, -1) if len(wild.format.prompt_ids("blue " * n)) <= 512 - 16 - 4 - 2)
    assert longest > 200
    wild.reply(SQUARES[0].image, "blue " * longest, max_new_tokens=4)
    with pytest.raises(InputError, match="too long"):
        wild.reply(SQUARES[0].image, "blue " * (longest + 1), max_new_tokens=4)


def test_the_unusable_request_of_a_batch_is_named(wild: MultitaskModel) -> None:
    with pytest.raises(InputError, match=r"^Request 2: the text is empty"):
        wild.reply_batch([QUERIES[0], Query(SQUARES[0].image, " ")])


def test_an_object_without_an_image_is_refused(model: MultitaskModel, wild: MultitaskModel) -> None:
    with pytest.raises(InputError, match=r"no image was given; .*\.$"):
        wild.reply(None, "Please segment the red square.", max_new_tokens=60)
    with pytest.raises(InputError, match="image"):
        model.teacher_forced([replace(EXAMPLES[0], image=None)])


def test_no_requests_give_no_replies(wild: MultitaskModel) -> None:
    assert wild.reply_batch([]) == []
    assert wild.teacher_forced([]) == []
