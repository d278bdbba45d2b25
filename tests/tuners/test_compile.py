"""`torch.compile`: one graph without breaks, and the same results."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import gradients, largest_difference, layers_of, tokens, tuned_model


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def _model(**settings: Any) -> Any:
    return tuned_model(NeuralTuningConfig(d_z=16, **settings), num_hidden_layers=2).base_model.model


def _compiled(model: Any) -> Any:
    return torch.compile(model, backend="aot_eager", fullgraph=True)


@pytest.mark.parametrize(
    ("training", "settings"),
    [
        (False, {}),
        (True, {}),
        (True, {"norm_after_carry": True, "kept_values": "excess"}),
        (True, {"activation_pattern": "all", "carry": False}),
        (True, {"activation_pattern": "distribution_random", "distribution_center": 1.0}),
        (False, {"activation_pattern": "top2beta_random"}),
        (False, {"activation_pattern": "level_random"}),
    ],
    ids=str,
)
def test_one_graph_with_the_plain_results(training: bool, settings: dict[str, Any]) -> None:
    found = []
    for compiled in (False, True):
        # compiled code draws other random numbers, so there are none to draw where values are compared
        model = _model(fluctuation=0.0, **settings).train(training)
        run = _compiled(model) if compiled else model
        output = run(input_ids=tokens(), use_cache=False)
        output.logits.square().mean().backward()
        found.append((output.logits.detach(), gradients(model)))
    assert (found[0][0] - found[1][0]).abs().max() < 1e-6
    assert largest_difference(found[0][1], found[1][1]) < 1e-6


@pytest.mark.parametrize("settings", [{}, {"sample_rate_per": "token", "activation_pattern": "level_random"}], ids=str)
def test_training_draws_rates_inside_the_graph(settings: dict[str, str]) -> None:
    run = _compiled(_model(fluctuation=0.5, **settings).train())
    with torch.no_grad():
        outputs = [run(input_ids=tokens(), use_cache=False).logits for _ in range(4)]
    assert not torch.equal(outputs[0], outputs[1])
    assert all(output.isfinite().all() for output in outputs)


def test_compiled_decoding_with_a_cache() -> None:
    model = _model()
    plain = model.generate(tokens(), max_new_tokens=6, do_sample=False)
    model.forward = torch.compile(model.forward, backend="aot_eager")
    assert torch.equal(model.generate(tokens(), max_new_tokens=6, do_sample=False), plain)


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++"))
    or not Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
    reason="no C++ compiler, or none of Python's headers",
)
def test_machine_code_gives_the_plain_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default backend, which fuses and reorders what the other tests run as it stands; of one layer alone."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = _model()
    with torch.no_grad():
        plain = model(input_ids=tokens(), use_cache=False).logits
        layers_of(model)[1].compile(fullgraph=True)
        compiled = model(input_ids=tokens(), use_cache=False).logits
    assert list(tmp_path.rglob("*.cpp"))
    assert (plain - compiled).abs().max() < 1e-6


def test_checkpointed_and_compiled() -> None:
    found = []
    for compiled in (False, True):
        model = _model(fluctuation=0.0).train()
        if compiled:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        run = torch.compile(model, backend="aot_eager") if compiled else model
        run(input_ids=tokens(), use_cache=False).logits.square().mean().backward()
        found.append(gradients(model))
    assert largest_difference(*found) < 1e-6
