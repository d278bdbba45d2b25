"""Packing: what a packed example gives is what it gives alone, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE, NO_LABEL, NO_SEGMENT, Batch, Packer
from neuraltuning.tasks import Example, get_task
from tests.tiny_models import lively, model_settings, sample

PATCHES = 16  # of the tiny encoders
TASKS = ("referring_segmentation", "reasoning_segmentation", "captioning", "visual_question_answering", "text_to_image")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MultitaskModel]:
    folder = tmp_path_factory.mktemp("models")
    built = {
        name: MultitaskModel.build(model_settings(folder, name)) for name in ("llama", "gpt2", "qwen2", "gemma3_text")
    }
    return {name: lively(model) for name, model in built.items()}


@pytest.fixture
def model(models: dict[str, MultitaskModel]) -> MultitaskModel:
    return models["llama"]


def group(number: int, *names: str) -> list[Example]:
    """The examples of these tasks about one image."""
    rng = np.random.default_rng(number)
    return [example for name in names or TASKS for example in get_task(name).examples(sample(number), rng)]


@dataclass
class Outcome:
    """What a batch gives: label after label and task token after task token, in reading order."""

    labels: Tensor
    logits: Tensor
    states: dict[str, Tensor]
    losses: dict[str, float]


def outcome(model: MultitaskModel, groups: Sequence[Sequence[Example]], row_length: int = 1000) -> Outcome:
    packer = Packer(model, row_length)
    batch = packer(groups)
    assert packer.left_out == 0
    with torch.no_grad():
        embeds = model.embed(
            batch.input_ids, model.projector(model.encoder(batch.pixel_values).tokens), batch.image_order
        )
        output = model.run(embeds, batch)
        learnt = batch.labels != NO_LABEL
        states = {
            token: bridge(bridge.read(embeds, output.hidden_states, found.rows, found.starts, found.positions))
            for token, found in batch.tokens.items()
            for bridge in [model.bridge(model.decoder_of(token)[0])]
        }
        losses = {name: float(value) for name, value in model(batch).parts.items()}
    return Outcome(batch.labels[learnt], model.logits(output.last_hidden_state[learnt]), states, losses)


@pytest.mark.parametrize(
    ("family", "row_length", "rows"),
    [("llama", 1000, 1), ("gpt2", 170, 2), ("qwen2", 170, 2), ("gemma3_text", 170, 2)],
)
def test_packed_examples_give_what_they_give_alone(
    models: dict[str, MultitaskModel], family: str, row_length: int, rows: int
) -> None:
    model = models[family]
    groups = [group(0), group(1, "text_to_image"), group(2, "captioning", "text_to_image", "reasoning_segmentation")]
    assert len(Packer(model, row_length)(groups).input_ids) == rows
    packed = outcome(model, groups, row_length)
    alone = [outcome(model, [[example]]) for examples in groups for example in examples]
    torch.testing.assert_close(packed.labels, torch.cat([a.labels for a in alone]))
    torch.testing.assert_close(packed.logits, torch.cat([a.logits for a in alone]), atol=2e-4, rtol=1e-4)
    assert packed.states.keys() == {"<OBJ>", "<GEN>"}
    for token, states in packed.states.items():
        each = torch.cat([a.states[token] for a in alone if token in a.states])
        torch.testing.assert_close(states, each, atol=2e-4, rtol=1e-4)
    counts = torch.tensor([len(a.labels) for a in alone], dtype=torch.float32)
    losses = torch.tensor([a.losses["text"] for a in alone])
    assert packed.losses["text"] == pytest.approx(float((counts * losses).sum() / counts.sum()), rel=1e-4)
    masks = torch.tensor([float(len(a.states.get("<OBJ>", ()))) for a in alone])
    dice = torch.tensor([a.losses.get("mask_dice", 0.0) for a in alone])
    assert packed.losses["mask_dice"] == pytest.approx(float((masks * dice).sum() / masks.sum()), rel=1e-4)
    drawn = [a.losses["gen_mse"] for a in alone if "gen_mse" in a.losses]
    assert packed.losses["gen_mse"] == pytest.approx(sum(drawn) / len(drawn), rel=1e-4)


def test_every_row_keeps_to_its_length_and_examples_that_share_a_row_share_their_image(model: MultitaskModel) -> None:
    groups = [group(number) for number in range(6)]
    batch = Packer(model, 400)(groups)
    assert 1 < len(batch.input_ids) < 6
    assert batch.input_ids.shape[1] <= 400
    assert (batch.input_ids == IMAGE_PLACE).sum() == 6 * PATCHES
    single = Packer(model, 400)([groups[0]])
    shared, alone = single.input_ids.numel(), sum(Packer(model, 400)([[e]]).input_ids.numel() for e in groups[0])
    n_with_image = sum(e.image is not None for e in groups[0])
    assert alone - shared == (n_with_image - 1) * (PATCHES + 1)  # the image and its bos are there once


def test_the_loss_of_each_task_is_its_own(model: MultitaskModel) -> None:
    examples = group(0, "captioning", "visual_question_answering")
    together = outcome(model, [examples]).losses
    for name in ("captioning", "visual_question_answering"):
        own = outcome(model, [[e for e in examples if e.task == name]]).losses
        assert together[f"text/{name}"] == pytest.approx(own["text"], rel=1e-4)
    assert together["text/captioning"] != pytest.approx(together["text/visual_question_answering"], rel=1e-3)


def test_no_position_sees_another_example_another_image_or_what_comes_after_it(model: MultitaskModel) -> None:
    groups = [group(0), group(1)]
    batch = Packer(model, 4000)(groups)
    allowed = batch.attention_mask()[0, 0]
    segments = batch.segment_ids[0]
    starts = [int((segments == s).nonzero()[0]) for s in range(int(segments.max()) + 1)]
    assert starts == sorted(starts)
    images = [s for s in starts if int(batch.input_ids[0, s + 1]) == IMAGE_PLACE]
    assert len(images) == 2
    for position in range(len(segments)):
        seen = set(segments[allowed[position]].tolist())
        own = int(segments[position])
        others = seen - {own}
        assert own in seen
        assert all(starts[s] in images for s in others)
        assert len(others) <= 1
        assert not allowed[position, position + 1 :].any()
    # a text-to-image example sees no image, a caption sees its own image whole
    last_of = {s: int((segments == s).nonzero()[-1]) for s in set(segments.tolist())}
    seen_images = [
        int(allowed[last, start + 1 : start + 1 + PATCHES].sum())
        for segment, last in last_of.items()
        for start in images
        if starts[segment] not in images
    ]
    assert set(seen_images) == {0, PATCHES}
    assert seen_images.count(PATCHES) == sum(e.image is not None for g in groups for e in g)


def test_padding_is_seen_by_nothing_and_learnt_by_nothing(model: MultitaskModel) -> None:
    batch = Packer(model, 60)([group(0, "captioning"), group(1, "text_to_image"), group(2, "referring_segmentation")])
    padding = batch.segment_ids == NO_SEGMENT
    assert padding.any()
    assert not (batch.attention_mask()[:, 0] & padding[:, None, :] & ~padding[:, :, None]).any()
    assert (batch.labels[padding] == NO_LABEL).all()


def test_only_the_reply_and_its_end_are_learnt(model: MultitaskModel) -> None:
    [example] = group(0, "reasoning_segmentation")
    batch = Packer(model, 500)([[example]])
    learnt = batch.labels[batch.labels != NO_LABEL].tolist()
    assert learnt == model.format.reply_ids(example.reply)
    assert learnt[-1] == model.format.eos_id
    assert model.format.text(learnt) == example.reply
    # each label is the token that stands at the next position
    row, places = batch.input_ids[0], (batch.labels[0] != NO_LABEL).nonzero().flatten()
    assert row[places + 1].tolist() == learnt


def test_targets_follow_their_tokens(model: MultitaskModel) -> None:
    """Several masks in one reply, several examples, several images: each target at the place of its token."""
    groups = [[many(0, (1, 0))], [many(1, (0, 1)), many(1, (1,))]]
    batch = Packer(model, 1000)(groups)
    found = batch.tokens["<OBJ>"]
    decoder = model.decoders["mask"]
    wanted = [decoder.encode_target(mask) for g in groups for e in g for mask in e.targets["<OBJ>"]]
    assert found.targets is not None
    np.testing.assert_array_equal(found.targets.numpy(), np.stack(wanted))
    assert found.owners.tolist() == [0, 0, 1, 1, 1]
    token_id = model.format.tokenizer.convert_tokens_to_ids("<OBJ>")
    assert (batch.input_ids[found.rows, found.positions] == token_id).all()
    assert int((batch.input_ids == token_id).sum()) == 5
    order = (found.rows * batch.input_ids.shape[1] + found.positions).tolist()
    assert order == sorted(order)


def test_a_mention_is_the_text_that_its_token_closes(model: MultitaskModel) -> None:
    """Since the token before it, of whatever kind, or the start of its own reply."""
    first = many(0, (1, 0))
    second = Example(
        "talk",
        "1",
        SAMPLES[0].image,
        "Go on.",
        "A square <OBJ> becomes <GEN> beside <OBJ>.",
        {"<OBJ>": [o.mask for o in SAMPLES[0].objects], "<GEN>": [SAMPLES[1].image]},
    )
    groups = [[first, second], [many(1, (1,))]]
    for text_only, row_length, rows in [(False, 1000, 1), (False, 75, 2), (True, 1000, 1)]:
        batch = Packer(model, row_length, text_only=text_only)(groups)
        assert len(batch.input_ids) == rows
        blue, red = " the blue square", " and the red square"
        assert mentions(model, batch, "<OBJ>") == [blue, red, " A square", " beside", blue]
        assert mentions(model, batch, "<GEN>") == [" becomes"]


def test_without_an_image_the_prompt_belongs_to_the_mention(model: MultitaskModel) -> None:
    [example] = group(1, "text_to_image")
    batch = Packer(model, 1000)([group(0), [example]])
    assert mentions(model, batch, "<GEN>")[1] == f"<s>Question: {example.prompt}\nAnswer: Here is the picture"


def mentions(model: MultitaskModel, batch: Batch, token: str) -> list[str]:
    """The texts between the starts of a token's mentions and the token."""
    found = batch.tokens[token]
    spans = zip(found.rows.tolist(), found.starts.tolist(), found.positions.tolist(), strict=True)
    return [model.format.tokenizer.decode(batch.input_ids[row, start:end]) for row, start, end in spans]


def many(number: int, places: tuple[int, ...]) -> Example:
    """A request for the objects at `places` of a sample, in this order."""
    shown = SAMPLES[number]
    objects = [shown.objects[i] for i in places]
    text = " and ".join(f"{o.phrases[0].text} <OBJ>" for o in objects)
    return Example(
        "referring_segmentation", f"{number}", shown.image, "Segment them.", text, {"<OBJ>": [o.mask for o in objects]}
    )


SAMPLES = [sample(number) for number in range(3)]


def test_an_image_is_encoded_once_however_often_it_is_needed(model: MultitaskModel) -> None:
    """As input of several examples and as the picture to be drawn."""
    rng = np.random.default_rng(0)
    examples = [e for name in TASKS for e in get_task(name).examples(SAMPLES[0], rng)]
    other = get_task("text_to_image").examples(SAMPLES[1], rng)
    batch = Packer(model, 1000)([examples, other, examples])
    assert batch.pixel_values.shape == (2, 3, 32, 32)
    assert batch.image_order.tolist() == [0, 0]
    assert batch.tokens["<GEN>"].owners.tolist() == [0, 1, 0]


def test_a_group_of_texts_alone_brings_no_image_tokens(model: MultitaskModel) -> None:
    batch = Packer(model, 500)([group(0, "text_to_image")])
    assert len(batch.image_order) == 0
    assert not (batch.input_ids == IMAGE_PLACE).any()
    assert batch.input_ids[0, 0] == model.format.bos_id
    assert batch.position_ids[0].tolist() == list(range(batch.input_ids.shape[1]))
    assert torch.isfinite(model(batch).total)


def test_a_batch_without_any_picture_gives_a_loss(model: MultitaskModel) -> None:
    example = Example("talk", "0", None, "Hello.", "Good day.")
    batch = Packer(model, 500)([[example]])
    assert torch.isfinite(model(batch).total)


def test_what_finds_no_room_is_left_out_and_counted(model: MultitaskModel) -> None:
    example = Example("talk", "0", SAMPLES[0].image, "Say a b c.", "a b c")
    long = Example("talk", "1", SAMPLES[0].image, "blue " * 200, "a")
    packer = Packer(model, 120)
    batch = packer([[example, long], [example]])
    assert packer.left_out == 1
    assert batch.input_ids.shape[1] <= 120
    assert len(batch.labels[batch.labels != NO_LABEL]) == 2 * len(model.format.reply_ids("a b c"))
    with pytest.raises(InputError, match=r"120.*data\.row_length"):
        packer([[long]])
    assert packer.left_out == 2


def test_rows_too_short_for_an_image_are_refused(model: MultitaskModel) -> None:
    with pytest.raises(InputError, match="row_length"):
        Packer(model, 2 * PATCHES)


def test_text_only_examples_see_no_image_but_keep_their_owners(model: MultitaskModel) -> None:
    batch = Packer(model, 500, text_only=True)([group(0, "referring_segmentation"), group(1, "referring_segmentation")])
    assert not (batch.input_ids == IMAGE_PLACE).any()
    assert len(batch.pixel_values) == 2
    assert sorted(set(batch.tokens["<OBJ>"].owners.tolist())) == [0, 1]


def test_a_batch_moves_as_a_whole(model: MultitaskModel) -> None:
    batch = Packer(model, 500)([group(0)])
    moved = batch.to(torch.device("meta"))
    tensors = [v for v in vars(moved).values() if isinstance(v, Tensor)]
    tensors += [t for found in moved.tokens.values() for t in vars(found).values() if t is not None]
    assert len(tensors) > 10
    assert {t.device.type for t in tensors} == {"meta"}
    assert isinstance(moved, Batch)
    assert batch.input_ids.device.type == "cpu"
