"""Decoding with a cache gives what full passes give, in batches of different lengths, for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neuraltuning.bridge import Readings
from neuraltuning.generate import Generated, RunningBatch, Start, TokenStates, generate, opening
from neuraltuning.kv_cache import KeysAndValues
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE, Packer
from neuraltuning.tasks import Example
from tests.tiny_models import FAMILIES, lively, model_settings, sample

IMAGES = [sample(0).image, sample(1, (36, 64)).image]
PROMPTS = ["Please segment the red square.", "How many squares?", "Draw: Two squares.", "Segment the blue square."]
ROW_IMAGES = torch.tensor([0, 1, -1, 1])
LENGTHS = [14, 20, 17, 20]


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """A model that writes every task token several times."""
    model = MultitaskModel.build(model_settings(tmp_path_factory.mktemp("models"), request.param))
    for seed in range(40):
        found = answer(lively(model, seed), [0, 1, 2, 3])
        if sum(len(states.rows) > 2 for states in found.tokens.values()) == 2 and len(set(map(len, found.ids))) > 1:
            return model
    raise AssertionError("No seed makes the tiny model write both task tokens.")


def image_tokens(model: MultitaskModel) -> Tensor:
    return model.projector(model.encoder(model.encoder.preprocess(IMAGES)).tokens)


@torch.no_grad()
def answer(model: MultitaskModel, rows: list[int]) -> Generated:
    """Continues some of the prompts in one batch."""
    return generate(
        model,
        [model.format.prompt_ids(PROMPTS[row]) for row in rows],
        image_tokens(model),
        ROW_IMAGES[rows],
        [LENGTHS[row] for row in rows],
    )


def test_a_batch_gives_what_each_prompt_gives_alone(model: MultitaskModel) -> None:
    together = answer(model, [0, 1, 2, 3])
    alone = [answer(model, [row]) for row in range(4)]
    assert together.ids == [one.ids[0] for one in alone]
    assert answer(model, [3, 1]).ids == [together.ids[3], together.ids[1]]
    for name, found in together.tokens.items():
        assert found.rows.count(0) == sum(alone[0].ids[0].count(i) for i in token_ids(model, name))
        for row in range(4):
            own = of_row(found, row)
            if name in alone[row].tokens:
                assert_same_readings(own, alone[row].tokens[name].readings)
            else:
                assert len(own.states) == 0


def test_prompts_about_one_image_read_it_once(model: MultitaskModel, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [answer(model, [row]) for row in range(4)]
    read: list[int] = []
    run = model.hidden_states

    def counting(embeds: Tensor, **arguments: Any) -> Any:
        read.append(embeds.shape[0] * embeds.shape[1])
        return run(embeds, **arguments)

    monkeypatch.setattr(model, "hidden_states", counting)
    rows = [3, 1, 3]
    together = answer(model, rows)
    assert together.ids == [alone[row].ids[0] for row in rows]
    for name, found in together.tokens.items():
        for place, row in enumerate(rows):
            if name in alone[row].tokens:
                assert_same_readings(of_row(found, place), alone[row].tokens[name].readings)
    opening = model.image_length + (model.format.bos_id is not None)
    prompts = len(rows) * max(len(model.format.prompt_ids(PROMPTS[row])) for row in rows)
    assert read[:2] == [opening, prompts]  # of the two images one is asked about


def of_row(found: TokenStates, row: int) -> Readings:
    return found.readings.select(torch.tensor([i for i, r in enumerate(found.rows) if r == row], dtype=torch.int64))


def assert_same_readings(ours: Readings, theirs: Readings) -> None:
    """However far each is padded."""
    torch.testing.assert_close(ours.states, theirs.states, atol=2e-4, rtol=1e-4)
    assert ours.in_mention.sum(1).tolist() == theirs.in_mention.sum(1).tolist()
    torch.testing.assert_close(ours.said[ours.in_mention], theirs.said[theirs.in_mention], atol=2e-4, rtol=1e-4)


def token_ids(model: MultitaskModel, name: str) -> list[int]:
    return [model.format.tokenizer.convert_tokens_to_ids(model.decoders[name].token)]


def test_every_word_and_state_is_that_of_a_full_pass(model: MultitaskModel) -> None:
    """Without a cache, without padding: the reply so far goes through the language model as a whole."""
    found = answer(model, [0, 1, 2, 3])
    places = dict.fromkeys(found.tokens, 0)
    for row, ids in enumerate(found.ids):
        bos = [] if model.format.bos_id is None else [model.format.bos_id]
        image = [IMAGE_PLACE] * (16 if ROW_IMAGES[row] >= 0 else 0)
        start = [*bos, *image, *model.format.prompt_ids(PROMPTS[row])]
        sequence = torch.tensor([start + ids])
        with torch.no_grad():
            embeds = model.embed(sequence, image_tokens(model), ROW_IMAGES[row : row + 1][ROW_IMAGES[row] >= 0])
            output = model.hidden_states(embeds, attention_mask=torch.ones_like(sequence), use_cache=False)
            chosen = model.logits(output.last_hidden_state[0, len(start) - 1 :]).argmax(-1).tolist()
        assert chosen[: len(ids)] == ids
        assert len(ids) == LENGTHS[row] or chosen[len(ids)] == model.format.eos_id
        for name, states in found.tokens.items():
            positions = torch.tensor([len(start) + i for i, t in enumerate(ids) if t in token_ids(model, name)]).long()
            if len(positions):
                where = torch.zeros_like(positions), positions, positions
                full = model.bridge(name).read(embeds, output.hidden_states, *where)
                torch.testing.assert_close(of_row(states, row).states, full.states, atol=2e-4, rtol=1e-4)
            places[name] += len(positions)
    assert places == {name: len(states.rows) for name, states in found.tokens.items()}
    assert min(places.values()) > 2


def test_training_reads_a_text_as_decoding_does(model: MultitaskModel) -> None:
    """The packed pass with its own mask against the language model's own causal mask, also with sliding windows."""
    reply = "The red square <OBJ> and the blue square <OBJ>, one two three four."
    targets = {"<OBJ>": [o.mask for o in sample(0).objects]}
    examples = [Example("talk", str(i), IMAGES[i], PROMPTS[i], reply, targets) for i in range(2)]
    batch = Packer(model, 1000)([[e] for e in examples])
    with torch.no_grad():
        tokens = image_tokens(model)
        packed = model.run(model.embed(batch.input_ids, tokens, batch.image_order), batch)
        start = 0
        for number, example in enumerate(examples):
            bos = [] if model.format.bos_id is None else [model.format.bos_id]
            ids = [*bos, *[IMAGE_PLACE] * 16, *model.format.prompt_ids(example.prompt), *model.format.reply_ids(reply)]
            sequence = torch.tensor([ids])
            embeds = model.embed(sequence, tokens, torch.tensor([number]))
            alone = model.hidden_states(embeds, attention_mask=torch.ones_like(sequence), use_cache=False)
            for ours, theirs in zip(packed.hidden_states, alone.hidden_states, strict=True):
                torch.testing.assert_close(ours[:, start : start + len(ids)], theirs, atol=2e-4, rtol=1e-4)
            start += len(ids)


def test_a_generated_mention_is_the_one_that_training_reads(
    model: MultitaskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replies that were generated, packed as examples; several tokens in a reply, with an image and without."""
    found = answer(model, [0, 1, 2, 3])
    monkeypatch.setattr(model.format, "reply_ids", lambda reply: [*found.ids[int(reply)], model.format.eos_id])
    examples = []
    for row, ids in enumerate(found.ids):
        image = None if ROW_IMAGES[row] < 0 else IMAGES[int(ROW_IMAGES[row])]
        counts = {name: sum(ids.count(i) for i in token_ids(model, name)) for name in model.decoders}
        targets: dict[str, list[Any]] = {"<GEN>": [IMAGES[0]] * counts["image"]}
        if image is not None:  # there is nothing to segment without
            targets["<OBJ>"] = [sample(0).objects[0].mask] * counts["mask"]
        examples.append(Example("talk", str(row), image, PROMPTS[row], str(row), targets))
    batch = Packer(model, 1000)([[example] for example in examples])
    with torch.no_grad():
        embeds = model.embed(batch.input_ids, image_tokens(model), batch.image_order)
        states = model.run(embeds, batch).hidden_states
    compared = []
    for token, at in batch.tokens.items():
        name, _ = model.decoder_of(token)
        forced = model.bridge(name).read(embeds, states, at.rows, at.starts, at.positions)
        whose = torch.tensor([row for row, e in enumerate(examples) for _ in e.targets.get(token, ())])
        for row in sorted(set(whose.tolist())):
            assert_same_readings(of_row(found.tokens[name], row), forced.select((whose == row).nonzero()[:, 0]))
            compared.append((row, int((whose == row).sum())))
    assert max(count for _, count in compared) > 1


def test_sequences_that_come_and_go_get_what_each_gets_alone(model: MultitaskModel) -> None:
    """Some of them read in parts, some behind keys and values that another left, and some leave in the middle."""
    alone = [answer(model, [row]).ids[0] for row in range(4)]
    seen = image_tokens(model)
    rng = np.random.default_rng(0)
    batch = RunningBatch(model)
    rows: dict[int, int] = {}
    kept: dict[int, KeysAndValues] = {}
    left = 0
    finished: list[int] = []
    for _ in range(400):
        if not batch.unread and len(batch.running) < 4 and rng.random() < 0.5:
            starts, joining = [], rng.integers(4, size=int(rng.integers(1, 3))).tolist()
            for row in joining:
                image = int(ROW_IMAGES[row])
                before = opening(model, image >= 0)
                ids = [*before, *model.format.prompt_ids(PROMPTS[row])]
                said = len(ids) if image >= 0 else 0
                known = kept.get(image) if image >= 0 and rng.random() < 0.7 else None
                tokens = seen[image] if image >= 0 else None
                starts.append(Start(ids, tokens, said, LENGTHS[row], None, known, len(before) if known else 0))
            rows |= {id(g): row for g, row in zip(batch.join(starts), joining, strict=True)}
        for said_now in (
            batch.read(int(rng.choice([5, 33, 100]))) if batch.unread and rng.random() < 0.7 else batch.step()
        ):
            growing = said_now.growing
            row = rows[id(growing)]
            image = int(ROW_IMAGES[row])
            if image >= 0 and image not in kept:
                kept[image] = batch.keep(growing, len(opening(model, True)))
            assert growing.reply == alone[row][: len(growing.reply)]
            if said_now.finished:
                assert growing.reply == alone[row]
                finished.append(row)
            if said_now.finished or rng.random() < 0.03:
                left += not said_now.finished
                batch.leave(growing)
                batch.leave(growing)  # once more is harmless
    assert set(finished) == {0, 1, 2, 3}
    assert left > 3
    assert set(kept) == {0, 1}


def test_the_longest_reply_is_each_prompts_own(model: MultitaskModel) -> None:
    prompts = [model.format.prompt_ids(text) for text in PROMPTS]
    with torch.no_grad():
        found = generate(model, prompts, image_tokens(model), ROW_IMAGES, [1, 5, 2, 3])
    full = answer(model, [0, 1, 2, 3]).ids
    assert found.ids == [ids[:limit] for ids, limit in zip(full, [1, 5, 2, 3], strict=True)]


def test_a_task_token_at_the_very_end_has_its_state(model: MultitaskModel) -> None:
    full = answer(model, [0, 1, 2, 3])
    row = next(r for r in range(4) for name in full.tokens if r in full.tokens[name].rows)
    place, name = min(
        (full.ids[row].index(i), name) for name in full.tokens for i in token_ids(model, name) if i in full.ids[row]
    )
    with torch.no_grad():
        prompt = model.format.prompt_ids(PROMPTS[row])
        cut = generate(model, [prompt], image_tokens(model), ROW_IMAGES[row : row + 1], [place + 1])
    assert len(cut.ids[0]) == place + 1
    first = of_row(full.tokens[name], row).select(torch.tensor([0]))
    assert_same_readings(cut.tokens[name].readings, first)


def test_the_end_token_ends_a_reply_and_is_no_part_of_it(tmp_path: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(tmp_path)))
    with torch.no_grad():
        ids = answer(model, [0, 1, 2, 3]).ids
        model.format.eos_id = ids[1][3]  # what the model writes anyway
        ended = answer(model, [0, 1, 2, 3]).ids
    for before, after in zip(ids, ended, strict=True):
        stop = before.index(ids[1][3]) if ids[1][3] in before else len(before)
        assert after == before[:stop]
    assert len(ended[1]) <= 3
