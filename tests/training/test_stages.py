"""What each stage learns from, and what is fitted before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuraltuning.data.sample import ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE, NO_LABEL
from neuraltuning.tasks import Example, get_task
from neuraltuning.training.alignment import align, background_of, true_description, word_vectors
from neuraltuning.training.mixture import Mixture
from neuraltuning.training.stages import Reading, Tuning, Warmup, words_of
from tests.tiny_models import lively, model_settings, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def model(folder: Path) -> MultitaskModel:
    return lively(MultitaskModel.build(model_settings(folder)))


def rows(count: int = 3) -> list[list[Example]]:
    rng = np.random.default_rng(0)
    names = ("referring_segmentation", "reasoning_segmentation", "text_to_image")
    samples = [sample(i) for i in range(count)]
    return [[e for name in names for e in get_task(name).examples(one, rng)] for one in samples]


def mixture(samples: Sequence[Sample], length: int) -> Mixture:
    shares = {"referring_segmentation": 1.5, "reasoning_segmentation": 1.0, "text_to_image": 0.5}
    return Mixture(samples, shares, seed=0, length=length)


# --- what a word should be ----------------------------------------------------------------------------------------


def example_about(reply: str, *places: int) -> Example:
    """A reply about some objects of a picture."""
    masks = [np.eye(8, dtype=bool)[[i]] for i in range(8)]
    names = ("cat", "umbrella", "cat", "key", "monkey", "tree", "palm tree")
    objects = [ObjectAnnotation(name, "", mask, (0, 0, 1, 1)) for name, mask in zip(names, masks, strict=False)]
    shown = replace(sample(), objects=tuple(objects))
    return Example("talk", "0", shown.image, "", reply, {"<OBJ>": [masks[i] for i in places]}, sample=shown)


@pytest.mark.parametrize(
    ("reply", "places", "words"),
    [
        ("The cat <OBJ>.", (0,), [["cat", "", ""]]),
        ("The cat below the umbrella <OBJ>.", (0,), [["cat", "", "umbrella"]]),
        ("The umbrella above the cat <OBJ>.", (1,), [["umbrella", "", "cat"]]),
        ("The object below the umbrella <OBJ>.", (2,), [["", "", "umbrella"]]),
        ("It <OBJ>.", (0,), [["", "", ""]]),
        (
            "The left cat <OBJ>, the right Cat <OBJ> and the umbrella <OBJ>.",
            (0, 2, 1),
            [["cat", "", ""], ["cat", "", ""], ["umbrella", "", ""]],
        ),
        ("The smaller of the two cats <OBJ>.", (2,), [["cat", "", ""]]),
        ("The cat <OBJ>.", (7,), [["", "", ""]]),
        ("The monkey <OBJ>.", (4,), [["monkey", "", ""]]),
        ("The object left of the monkey <OBJ>.", (3,), [["", "", "monkey"]]),
        ("The palm tree <OBJ>.", (6,), [["palm tree", "", ""]]),
        ("The tree by the palm tree <OBJ>.", (5,), [["tree", "", "palm tree"]]),
        ("A cat.", (), []),
    ],
)
def test_the_words_of_a_token_are_what_its_mention_names(
    reply: str, places: tuple[int, ...], words: list[list[str]]
) -> None:
    """The own class, the attribute, then other classes; an object that isn't the sample's has none."""
    example = example_about(reply, *places)
    assert words_of(example, "<OBJ>", 3) == words
    assert words_of(example, "<OBJ>", 1) == [one[:1] for one in words]
    assert words_of(replace(example, sample=None), "<OBJ>", 2) == [["", ""]] * len(words)


@pytest.mark.parametrize(
    ("mention", "words"),
    [
        ("The red cat <OBJ>.", ["cat", "red", ""]),
        ("The cat <OBJ>.", ["cat", "", ""]),
        ("The cat in red below the umbrella <OBJ>.", ["cat", "red", "umbrella"]),
        ("The red object <OBJ>.", ["", "red", ""]),
        ("The reddish cat <OBJ>.", ["cat", "", ""]),
    ],
)
def test_the_attribute_is_a_word_where_the_mention_says_it(mention: str, words: list[str]) -> None:
    example = example_about(mention, 0)
    assert example.sample is not None
    cat, *others = example.sample.objects
    cat = replace(cat, phrases=(Phrase("the cat that is red", "attribute"),))
    assert words_of(replace(example, sample=replace(example.sample, objects=(cat, *others))), "<OBJ>", 3) == [words]


def test_a_class_is_found_however_it_is_written() -> None:
    example = example_about("The TV <OBJ>.", 0)
    assert example.sample is not None
    tv = replace(example.sample.objects[0], category="TV")
    assert words_of(replace(example, sample=replace(example.sample, objects=(tv,))), "<OBJ>", 1) == [["TV"]]


def test_an_object_without_a_class_name_has_no_words() -> None:
    example = example_about("It <OBJ>.", 0)
    assert example.sample is not None
    nameless = replace(example.sample.objects[0], category="")
    example = replace(example, sample=replace(example.sample, objects=(nameless,)))
    assert words_of(example, "<OBJ>", 3) == [["", "", ""]]


# --- warm-up ------------------------------------------------------------------------------------------------------


def test_the_warm_up_learns_from_tokens_for_parts_of_an_image_alone(model: MultitaskModel) -> None:
    stage = Warmup(model, 300)
    learns = {tokens: stage.learns_from(tokens) for tokens in [("<OBJ>",), ("<GEN>",), ("<OBJ>", "<GEN>"), ()]}
    assert learns == {("<OBJ>",): True, ("<GEN>",): False, ("<OBJ>", "<GEN>"): False, (): False}
    assert all(Tuning(model, 300).learns_from(tokens) for tokens in learns)


def test_the_warm_up_reads_whole_texts_without_their_images(model: MultitaskModel) -> None:
    """But masks belong to their images."""
    stage = Warmup(model, 300)
    batch = stage.collate(rows())
    assert stage.packer.left_out == 0
    assert not (batch.input_ids == IMAGE_PLACE).any()
    assert len(batch.pixel_values) == 3
    read = [
        row[of == s].tolist() for row, of in zip(batch.input_ids, batch.segment_ids, strict=True) for s in of.unique()
    ]
    for example in (e for row in rows() for e in row):
        text = [*model.format.prompt_ids(example.prompt), *model.format.reply_ids(example.reply)]
        assert [model.format.bos_id, *text] in read
    found = batch.tokens["<OBJ>"]
    masks = [(i, mask) for i, row in enumerate(rows()) for e in row for mask in e.targets.get("<OBJ>", ())]
    assert found.owners.tolist() == [i for i, _ in masks]
    wanted = np.stack([model.decoders["mask"].encode_target(mask) for _, mask in masks])
    np.testing.assert_array_equal(found.targets, wanted)


def test_the_warm_up_teaches_bridges_and_decoders_alone(model: MultitaskModel) -> None:
    stage = Warmup(model, 300).train()
    losses = stage(stage.collate(rows()))
    losses.total.backward()
    assert set(losses.parts) == {"mask_dice", "mask_bce", "mask_pointing", "gen_mse"}
    for name, parameter in model.trainable_parameters().items():
        assert (parameter.grad is not None) == name.startswith(("bridges.", "decoders.")), name


@pytest.mark.parametrize("tuned", [False, True])
def test_the_warm_up_reads_the_language_model_untuned_unless_it_is_told(model: MultitaskModel, tuned: bool) -> None:
    stage = Warmup(model, 300, tuned=tuned).eval()
    batch = stage.collate(rows())
    before = float(stage(batch).total)
    lively_tuner = {n: p for n, p in model.trainable_parameters().items() if n.startswith("tuner.")}
    with torch.no_grad():
        for parameter in lively_tuner.values():
            parameter.mul_(-2.0)
    assert (float(stage(batch).total) == before) is not tuned


@pytest.mark.parametrize("sources", [[["token", 1]], [["predicting", 2]], [["token", 0]], [["token", -1]]], ids=str)
def test_the_layers_that_the_warm_up_leaves_out_change_nothing(folder: Path, sources: list[list[object]]) -> None:
    """It runs the language model only as deep as the bridges read."""
    model = lively(MultitaskModel.build(model_settings(folder, state={"words": 1, "size": 24, "sources": sources})))
    stage = Warmup(model, 300).eval()
    batch = stage.collate(rows())
    shallow = {name: float(value) for name, value in stage(batch).parts.items()}
    decoder = model.language_model.get_decoder()
    assert len(decoder.layers) == 3  # all are there again
    with torch.no_grad(), model.llm.disable_adapter():
        embeds = model.embed(batch.input_ids)
        states = model.run(embeds, batch).hidden_states
        features = model.see(batch.pixel_values, embedding=True)[0]
        full = model.decoder_losses(embeds, states, features, batch)[1]
    assert shallow == pytest.approx({name: float(value) for name, value in full.items()}, rel=1e-4)


def test_preparing_the_warm_up_standardises_the_states(model: MultitaskModel) -> None:
    stage = Warmup(model, 300)
    chosen = mixture([sample(i) for i in range(6)], 20)  # more than are prepared at once
    stage.prepare(chosen)
    batch = stage.collate([chosen[i] for i in range(20)])
    with torch.no_grad(), model.llm.disable_adapter():
        embeds = model.embed(batch.input_ids)
        states = model.run(embeds, batch).hidden_states
    assert set(batch.tokens) == {"<OBJ>", "<GEN>"}
    for token, found in batch.tokens.items():
        bridge = model.bridge(model.decoder_of(token)[0])
        readings = bridge.read(embeds, states, found.rows, found.starts, found.positions)
        standard = (readings.states - bridge.mean) * bridge.scale
        assert float(standard.mean(0).abs().max()) < 1e-3
        assert float(standard.std(0).max()) < 1.6  # a few deviations are drawn towards the usual one
        assert float(standard.std(0).median()) > 0.8


def test_preparing_the_warm_up_teaches_the_choice_of_words_and_the_pointers(model: MultitaskModel) -> None:
    """And nothing that is not for parts of an image."""
    stage = Warmup(model, 300)
    batch = stage.collate(rows(6))

    def outcome() -> tuple[float, float]:
        """How near the words of masks are to the class that is meant, and the pointers' loss."""
        found = batch.tokens["<OBJ>"]
        with torch.no_grad():
            words = model.bridge("mask").read_words(
                model.embed(batch.input_ids), found.rows, found.starts, found.positions
            )
            square = word_vectors(model, ["square"])
            near = torch.cosine_similarity(words[:, : square.shape[1]], square).mean()
            return float(near), float(stage(batch).parts["mask_pointing"])

    near, pointing = outcome()
    before = model.trained_state()
    stage.prepare(mixture([sample(i) for i in range(12)], 96))
    prepared_near, prepared_pointing = outcome()
    assert prepared_near > max(0.9, near + 0.1)
    assert prepared_pointing < 0.75 * pointing
    after = model.trained_state()
    changed = {".".join(name.split(".")[:4]) for name in after if not torch.equal(after[name], before[name])}
    fitted = {f"bridges.{name}.{part}" for name in ("mask", "image") for part in ("mean", "scale")}
    fitted |= {f"bridges.{name}.free.{part}" for name in ("mask", "image") for part in ("weight", "bias")}
    assert fitted <= changed
    assert {name for name in changed if name.startswith("bridges.image")} <= fitted
    assert {"bridges.mask.word_choice.reader", "decoders.mask.pointing.selections"} <= changed
    untouched = ("tuner", "projector", "task_tokens", "decoders.image", "decoders.mask.out", "decoders.mask.upscalings")
    assert not any(name.startswith(untouched) for name in changed)


def test_preparing_fits_each_mask_on_its_own_image(model: MultitaskModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(MaskDecoder, "fit", lambda decoder, *arguments: given.append(arguments))
    chosen = mixture([sample(i) for i in range(20)], 20)
    Warmup(model, 300).prepare(chosen)
    [(states, features, owners, targets)] = given
    masks = [(e.image, mask) for i in range(20) for e in chosen[i] for mask in e.targets.get("<OBJ>", ())]
    shown = model.encoder(model.encoder.preprocess([image for image, _ in masks if image is not None]))
    torch.testing.assert_close(features.tokens[owners], shown.tokens)
    np.testing.assert_array_equal(targets, np.stack([model.decoders["mask"].encode_target(mask) for _, mask in masks]))
    assert len(states) == len(masks)


def test_preparing_passes_over_what_finds_no_room(model: MultitaskModel) -> None:
    """The words that are taught belong to the examples that were read."""
    long = replace(sample(1), reasoning=(QuestionAnswer("blue " * 100, "The <OBJ>.", "", (0,)),))
    stage = Warmup(model, 80)
    stage.prepare(mixture([sample(0), long, sample(2)], 12))
    assert stage.packer.left_out > 0
    batch = stage.collate(rows(1))
    found = batch.tokens["<OBJ>"]
    words = model.bridge("mask").read_words(model.embed(batch.input_ids), found.rows, found.starts, found.positions)
    assert torch.cosine_similarity(words[:, :32], word_vectors(model, ["square"])).mean() > 0.9


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def describing(folder: Path) -> MultitaskModel:
    """A model that describes images."""
    return lively(MultitaskModel.build(model_settings(folder, names={"slots": 90, "vocabulary": 4})))


def pieces(model: MultitaskModel, ids: Sequence[int]) -> str:
    text: str = model.format.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return text


def test_a_true_description_says_what_is_annotated_from_left_to_right(describing: MultitaskModel) -> None:
    said = pieces(describing, true_description(describing, sample()))
    assert said == "The picture shows: left red square top left, right blue square bottom right\n"
    mirrored = sample()
    assert pieces(describing, true_description(describing, replace(mirrored, objects=mirrored.objects[::-1]))) == said
    assert true_description(describing, replace(mirrored, objects=())) == []


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("A square on a striped green background.", "striped green"),
        ("A square. The background is dotted and red.", "dotted red"),
        ("A square on a background that fades from red to blue.", "fades from red to blue"),
        ("A square in the background.", ""),
        ("The background is what one would expect of a picture from there.", ""),
        ("A square.", ""),
    ],
)
def test_what_a_caption_says_of_the_background_is_described(
    describing: MultitaskModel, caption: str, said: str
) -> None:
    shown = replace(sample(), captions=(caption,))
    assert background_of(shown) == said
    ending = f"bottom right, {said} background\n" if said else "bottom right\n"
    assert pieces(describing, true_description(describing, shown)).endswith(ending)


def test_a_true_description_is_spelt_as_the_naming_spells_it(describing: MultitaskModel) -> None:
    """What patches vote for takes the place of what is annotated, and nothing else changes."""
    align(describing, [sample(i) for i in range(24)], 24, 0, [])
    assert describing.naming is not None
    shown = sample(2)
    ids = describing.naming(describing.encoder(describing.encoder.preprocess([shown.image])).tokens).ids[0]
    told = true_description(describing, shown)
    wording = describing.naming.wording
    allowed = {
        *told,
        *(i for row in wording.places for place in row for i in place),
        *(i for axis in (*wording.pair, *wording.ends) for words in axis for i in words),
        *wording.middle,
        wording.padding,
    }
    assert set(ids.tolist()) <= allowed
    assert told[: len(wording.opening)] == wording.opening
    assert told[-len(wording.closing) :] == wording.closing


def test_reading_sees_descriptions_in_the_place_of_images(describing: MultitaskModel) -> None:
    stage = Reading(describing, 300)
    given = [[e for e in row if e.task != "text_to_image"] for row in rows()]
    batch = stage.collate(given)
    assert not (batch.input_ids == IMAGE_PLACE).any()
    allowed = batch.attention_mask()[:, 0]
    found = 0
    for row, segments in enumerate(batch.segment_ids):
        for segment in segments[segments >= 0].unique():
            inside = segments == segment
            last = int(inside.nonzero()[-1])
            seen = pieces(describing, batch.input_ids[row][allowed[row, last]].tolist())
            if (batch.labels[row][inside] != NO_LABEL).any():
                found += 1
                assert seen.startswith("<s>The picture shows: left red square")
                assert seen.count("Question:") <= 1  # an example is blind to the others
    assert found == sum(map(len, given))


def test_what_asks_for_a_picture_is_read_without_a_description(describing: MultitaskModel) -> None:
    drawing = [[e for e in row if e.task == "text_to_image"] for row in rows(1)]
    batch = Reading(describing, 300).collate(drawing)
    assert "The picture shows" not in pieces(describing, batch.input_ids[0].tolist())


def test_reading_teaches_the_tuner_and_the_tokens_alone(describing: MultitaskModel) -> None:
    stage = Reading(describing, 300).train()
    losses = stage(stage.collate(rows()))
    losses.total.backward()
    assert {name.split("/")[0] for name in losses.parts} == {"text"}
    taught = {n.split(".")[0] for n, p in describing.trainable_parameters().items() if p.grad is not None}
    assert taught == {"tuner", "task_tokens"}


def test_reading_needs_descriptions(folder: Path) -> None:
    silent = MultitaskModel.build(model_settings(folder, names={"slots": 0}))
    with pytest.raises(InputError, match=r"model\.names\.slots is 0; leave reading out"):
        Reading(silent, 300)
