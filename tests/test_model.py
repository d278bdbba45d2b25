"""One training step: what gets gradients, what stays frozen, what is random, which wirings run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuraltuning.errors import InputError
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch, Packer
from neuraltuning.tasks import get_task, task_names
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_models import FAMILIES, TOKEN_COUNT, lively, llm_folder, model_settings, sample

PAIRS = [
    ("llama", "clip"),
    ("llama_tied", "siglip"),
    ("qwen2", "clip"),
    ("qwen2_untied", "dinov2"),
    ("gpt2", "clip"),
    ("gemma2", "clip"),
    ("gemma3_text", "clip"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's frozen parts lie."""
    return tmp_path_factory.mktemp("models")


def batch_for(model: MultitaskModel, numbers: Sequence[int] = (0, 1)) -> Batch:
    """Examples of all tasks about some images."""
    rng = np.random.default_rng(0)
    tasks = [get_task(name) for name in task_names()]
    return Packer(model, 1000)([[e for task in tasks for e in task.examples(sample(n), rng)] for n in numbers])


def losses_of(model: MultitaskModel) -> Losses:
    return model(batch_for(model))


@pytest.mark.parametrize(("llm", "encoder"), PAIRS)
def test_the_loss_teaches_every_trainable_part_and_no_frozen_one(folder: Path, llm: str, encoder: str) -> None:
    model = lively(MultitaskModel.build(model_settings(folder, llm, encoder))).train()
    losses_of(model).total.backward()
    trainable = model.trainable_parameters()
    idle = {"decoders.mask.pointing.foci.3.keys.weight"}  # these encoders have no map for the finest grid
    for name, parameter in trainable.items():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) == (name not in idle), name
    learnt = {id(parameter) for parameter in trainable.values()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in learnt:
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
    parts = {".".join(name.split(".")[: 2 if name.startswith(("bridges", "decoders")) else 1]) for name in trainable}
    assert parts == {
        *("tuner", "projector", "task_tokens"),
        *("bridges.mask", "bridges.image", "decoders.mask", "decoders.image"),
    }


@pytest.mark.parametrize("llm", ["llama", "llama_tied", "qwen2"])
def test_training_moves_the_new_rows_and_not_the_vocabulary(folder: Path, llm: str) -> None:
    model = lively(MultitaskModel.build(model_settings(folder, llm))).train()
    trainable = model.trainable_parameters()
    learnt = {id(p) for p in trainable.values()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-2, weight_decay=0.1)
    losses_of(model).total.backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if id(p) in learnt}
    rows = {name: p for name, p in trainable.items() if name.startswith("task_tokens")}
    assert {name: tuple(p.shape) for name, p in rows.items()} == {
        "task_tokens.input_rows": (2, 32),
        "task_tokens.output_rows": (2, 32),
    }


@pytest.mark.parametrize("llm", list(FAMILIES))
def test_the_words_are_the_language_models_own(folder: Path, llm: str) -> None:
    """Without image and task token, texts get the logits that transformers computes."""
    model = MultitaskModel.build(model_settings(folder, llm))
    ids = torch.randint(3, 400, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = model.hidden_states(model.embed(ids), attention_mask=torch.ones_like(ids)).last_hidden_state
        ours = model.logits(hidden.flatten(0, 1)).view(2, 30, -1)
        theirs = model.language_model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    old = [i for i in range(theirs.shape[-1]) if i not in model.task_tokens.ids.tolist()]
    torch.testing.assert_close(ours[..., old], theirs[..., old], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("llm", list(FAMILIES))
def test_mentions_are_read_as_the_vectors_of_their_tokens_alone(folder: Path, llm: str) -> None:
    """So that a word is the same wherever it stands, also where the language model adds places to its input."""
    model = lively(MultitaskModel.build(model_settings(folder, llm)))
    batch = batch_for(model)
    with torch.no_grad():
        embeds = model.embed(batch.input_ids, model.see(batch.pixel_values)[1], batch.image_order)
        hidden_states = model.run(embeds, batch).hidden_states
    for token, found in batch.tokens.items():
        where = found.rows, found.starts, found.positions
        readings = model.bridge(model.decoder_of(token)[0]).read(embeds, hidden_states, *where)
        for number, (row, start, end) in enumerate(zip(*(w.tolist() for w in where), strict=True)):
            said = readings.said[number][readings.in_mention[number]]
            torch.testing.assert_close(said, embeds[row, start:end] - model.word_mean, atol=1e-4, rtol=1e-4)


def test_an_untrained_tuner_leaves_the_language_model_as_it_was(folder: Path) -> None:
    model = MultitaskModel.build(model_settings(folder))
    batch = batch_for(model)
    with torch.no_grad():
        tuned = model(batch).parts["text"]
        with model.llm.disable_adapter():
            untuned = model(batch).parts["text"]
    assert torch.equal(tuned, untuned)


def test_the_parts_of_the_loss_add_up(folder: Path) -> None:
    losses = losses_of(lively(MultitaskModel.build(model_settings(folder))))
    decoded = {"mask_dice", "mask_bce", "mask_pointing", "gen_mse"}
    assert losses.parts.keys() == {"text", *(f"text/{name}" for name in task_names()), *decoded}
    assert losses.total.item() == pytest.approx(sum(float(losses.parts[name]) for name in ("text", *decoded)), rel=1e-5)
    assert not any(part.requires_grad for part in losses.parts.values())


def test_the_weights_of_the_losses_are_those_of_the_configuration(folder: Path) -> None:
    values = model_settings(folder).decoders
    heavier = {"mask": {**values["mask"], "dice_weight": 3.0}, "image": {**values["image"], "weight": 20.0}}
    light, heavy = (
        losses_of(lively(MultitaskModel.build(model_settings(folder, decoders=decoders)))).parts
        for decoders in (values, heavier)
    )
    assert float(heavy["mask_dice"]) == pytest.approx(3.0 * float(light["mask_dice"]), rel=1e-5)
    assert float(heavy["gen_mse"]) == pytest.approx(2.0 * float(light["gen_mse"]), rel=1e-5)
    assert float(heavy["mask_bce"]) == pytest.approx(float(light["mask_bce"]), rel=1e-5)


# --- what is random -----------------------------------------------------------------------------------------------


def droppy(folder: Path, **tuner: Any) -> MultitaskModel:
    """A model whose LLM has dropout of its own."""
    llm = llm_folder(folder / "droppy", "llama", attention_dropout=0.5)
    return lively(MultitaskModel.build(model_settings(folder, llm=str(llm), tuner=tuner)))


def spread(model: MultitaskModel) -> float:
    """How far the text loss of three forward passes of one batch differs."""
    batch = batch_for(model)
    with torch.no_grad():
        losses = [float(model(batch).parts["text"]) for _ in range(3)]
    return max(losses) - min(losses)


def test_the_frozen_dropout_keeps_still_in_training(folder: Path) -> None:
    still = {"method": "neural_tuning", "settings": {"neural_tuning": {"d_z": 16, "fluctuation": 0.0}}}
    assert spread(droppy(folder, **still).train()) == 0.0


def test_the_sparse_rate_is_drawn_in_training_alone(folder: Path) -> None:
    drawn = {"method": "neural_tuning", "settings": {"neural_tuning": {"d_z": 16, "fluctuation": 0.5}}}
    model = droppy(folder, **drawn)
    assert spread(model) == 0.0
    assert spread(model.train()) > 0.0
    assert spread(model.eval()) == 0.0


def test_another_tuners_dropout_works_in_training_alone(folder: Path) -> None:
    lora = {"r": 4, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.5, "init_lora_weights": False}
    model = droppy(folder, method="lora", settings={"lora": lora})
    assert spread(model) == 0.0
    assert spread(model.train()) > 0.0


def test_a_reply_in_the_middle_of_training_leaves_the_mode_as_it_was(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder))).train()
    modes = [module.training for module in model.modules()]
    first, second = (model.reply(sample().image, "Draw.", max_new_tokens=6) for _ in range(2))
    assert first.text == second.text
    assert [module.training for module in model.modules()] == modes
    assert model.training
    assert not model.encoder.training


# --- other wirings ------------------------------------------------------------------------------------------------


def test_one_key_puts_lora_in_the_tuners_place(folder: Path) -> None:
    settings = model_settings(folder)
    lora = settings.model_copy(update={"tuner": settings.tuner.model_copy(update={"method": "lora"})})
    model = lively(MultitaskModel.build(lora)).train()
    losses_of(model).total.backward()
    tuner = {name: p for name, p in model.trainable_parameters().items() if name.startswith("tuner.")}
    assert len(tuner) == 3 * 2 * 2
    assert all("lora_" in name and p.grad is not None for name, p in tuner.items())
    others = {n for n in model.trainable_parameters() if not n.startswith("tuner.")}
    ours = MultitaskModel.build(settings).trainable_parameters()
    assert others == {n for n in ours if not n.startswith("tuner.")}
    assert all("neural_tuning_" in n for n in ours if n.startswith("tuner."))


def test_the_papers_literal_wiring_runs(folder: Path) -> None:
    """The last layer's state at the token, nine attention layers, DICE alone."""
    image = model_settings(folder).decoders["image"]
    mask = {"channels": [32, 32, 32, 32], "attention_layers": [3, 3, 3]}
    model = lively(
        MultitaskModel.build(
            model_settings(
                folder,
                state={"size": 24, "sources": [["token", -1]]},
                decoders={"mask": mask, "image": image},
            )
        )
    ).train()
    losses = losses_of(model)
    losses.total.backward()
    assert {name for name in losses.parts if name.startswith("mask")} == {"mask_dice"}
    assert all(p.grad is not None for p in model.trainable_parameters().values())
    # the state comes from the last layer at the token alone
    batch = batch_for(model.eval())
    found = batch.tokens["<OBJ>"]
    with torch.no_grad():
        states = [torch.randn(*batch.input_ids.shape, 32) for _ in range(4)]
        readings = model.bridge("mask").read(states[0], states, found.rows, found.starts, found.positions)
    torch.testing.assert_close(readings.states, states[-1][found.rows, found.positions])


def test_half_precision_runs(folder: Path) -> None:
    """The frozen LLM in bfloat16; what is trained stays in float32."""
    model = lively(MultitaskModel.build(model_settings(folder, dtype="bfloat16"))).train()
    losses = losses_of(model)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert {p.dtype for p in model.language_model.get_input_embeddings().parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.trainable_parameters().values()} == {torch.float32}
    half, full = (
        losses_of(lively(MultitaskModel.build(model_settings(folder, dtype=dtype)))).total.item()
        for dtype in ("bfloat16", "float32")
    )
    assert half == pytest.approx(full, rel=0.05)
    assert model.reply(sample().image, "Please segment the red square.", max_new_tokens=8).text


def test_a_gguf_file_serves_as_language_model(tmp_path: Path, folder: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    settings = model_settings(folder, llm=str(tmp_path / "tiny.gguf"), state={"sources": [["token", 1]]})
    model = lively(MultitaskModel.build(settings))
    model.save_pretrained(tmp_path / "model")
    again = MultitaskModel.from_pretrained(tmp_path / "model")
    replies = [m.reply(sample().image, "the cat", max_new_tokens=5) for m in (model, again)]
    assert replies[0].text == replies[1].text != ""


def test_a_model_for_texts_alone_needs_no_decoder(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder, decoders={}))).train()
    rng = np.random.default_rng(0)
    examples = [
        e for name in ("captioning", "visual_question_answering") for e in get_task(name).examples(sample(), rng)
    ]
    model(Packer(model, 500)([examples])).total.backward()
    assert all(p.grad is not None for p in model.trainable_parameters().values() if p.numel())
    assert model.reply(sample().image, "How many squares?", max_new_tokens=4).text


def test_the_seed_settles_the_start_and_touches_nothing_else(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = MultitaskModel.build(model_settings(folder), seed=1)
    assert torch.equal(torch.rand(1), expected)
    same, other = (MultitaskModel.build(model_settings(folder), seed=seed) for seed in (1, 2))
    for name, tensor in first.trained_state().items():
        assert torch.equal(tensor, same.trained_state()[name]), name
    assert any(not torch.equal(t, other.trained_state()[name]) for name, t in first.trained_state().items())


def test_new_tokens_are_found_in_padded_vocabularies(folder: Path) -> None:
    """Qwen2's embedding has rows that no word uses; the task tokens take ids among them, not beyond them."""
    model = MultitaskModel.build(model_settings(folder, "qwen2"))
    rows = model.language_model.get_input_embeddings().weight.shape[0]
    assert rows == TOKEN_COUNT + 20
    assert model.task_tokens.ids.max() < rows
    assert model.task_tokens.vocabulary_size == rows


def test_trained_state_goes_back_into_a_model(folder: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(folder)))
    state = model.trained_state()
    before = losses_of(model).total.item()
    lively(model, seed=8)
    with torch.no_grad():
        model.bridges["mask"].mean.add_(1.0)
    assert losses_of(model).total.item() != pytest.approx(before, rel=1e-3)
    model.load_trained_state(state)
    assert losses_of(model).total.item() == pytest.approx(before, rel=1e-6)


# --- settings that don't fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": {"sources": [["token", 4]]}}, ["sources", "layer 4", "0 to 3"]),
        ({"state": {"sources": [["token", -5]]}}, ["sources", "-5"]),
        ({"state": {"words": -1}}, ["state.words", "-1"]),
        ({"decoders": {"musk": {}}}, ["musk", "mask"]),
        ({"decoders": {"mask": {"colour": 1}}}, ["mask", "colour"]),
        ({"decoders": {"mask": {"channels": [32, 32]}}}, ["channels"]),
        ({"decoders": {"mask": {"attention_layers": [1]}}}, ["attention_layers"]),
        ({"decoders": {"image": {"candidates": 0}}}, ["candidate"]),
        ({"tuner": {"method": "neural"}}, ["neural", "neural_tuning"]),
        ({"tuner": {"method": "neural_tuning", "settings": {"neural_tuning": {"dz": 3}}}}, ["dz", "d_z"]),
        ({"llm": "/nowhere/llm"}, ["/nowhere/llm"]),
        ({"encoder": "/nowhere/encoder"}, ["/nowhere/encoder"]),
        ({"template": "Question:"}, ["template", "{prompt}"]),
        ({"template": "{prompt}"}, ["template", "{prompt}"]),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(folder: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        MultitaskModel.build(model_settings(folder, **changes))
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
