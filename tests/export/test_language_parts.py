"""The language model's file: prompt and single steps give what one pass of the model gives, whatever tunes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from neuraltuning.errors import RunError
from neuraltuning.export.check import check
from neuraltuning.export.language_parts import LanguagePart
from neuraltuning.export.part import NotExportable
from neuraltuning.export.tracing import open_file, trace
from neuraltuning.model import MultitaskModel
from tests.tiny_models import lively, llm_folder, model_settings

ROUNDING = 1e-5


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def built(parts: Path, family: str, method: str, layers: int, **settings: Any) -> MultitaskModel:
    """A tiny model with a tuner that visibly does something."""
    llm_folder(parts / family, family, num_hidden_layers=layers, **settings)
    tuner = {
        "method": method,
        "settings": {
            "neural_tuning": {"d_z": 16},
            "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
            "prefix_tuning": {"num_virtual_tokens": 3},
        },
    }
    state = {"sources": [["predicting", 1], ["token", -1]]}
    model = lively(MultitaskModel.build(model_settings(parts, family, tuner=tuner, state=state)))
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.trainable_parameters().items():
            if name.startswith("tuner."):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize(
    ("family", "method", "layers"),
    [
        ("llama", "lora", 1),
        ("llama", "ia3", 1),
        ("llama", "prefix_tuning", 1),
        ("gpt2", "neural_tuning", 2),  # whose query, key and value come from one projection
        ("gemma3_text", "neural_tuning", 2),  # with a sliding window
    ],
)
def test_steps_over_the_cache_are_one_pass_of_the_tuned_model(
    parts: Path, tmp_path: Path, family: str, method: str, layers: int
) -> None:
    windows = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5}
    model = built(parts / method, family, method, layers, **(windows if family == "gemma3_text" else {}))
    part, path = LanguagePart(model), tmp_path / "part.onnx"
    with torch.no_grad():
        trace(part, path)
        found = check(part, open_file(part.name, path))
        assert set(found) == {"logits", *(f"hidden_states.{layer}" for layer in {1, layers})}
        assert max(difference.max_rel for difference in found.values()) < ROUNDING
        with model.llm.disable_adapter(), pytest.raises(RunError, match="doesn't compute what the model does"):
            check(part, open_file(part.name, path))  # the tuner is in the file


def test_a_quantised_language_model_is_refused(parts: Path) -> None:
    model = built(parts / "ia3", "llama", "ia3", 1)
    model.language_model.is_quantized = True
    with torch.no_grad(), pytest.raises(NotExportable, match=r"is quantised, .*\.$"):
        LanguagePart(model)


@pytest.mark.parametrize("problem", ["keeps none", "fails"])
def test_a_language_model_without_plain_keys_and_values_is_refused(
    parts: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    model = built(parts / "ia3", "llama", "ia3", 1)
    run = type(model).hidden_states

    def hidden_states(self: MultitaskModel, embeds: torch.Tensor, **arguments: Any) -> Any:
        if problem == "fails":
            raise AttributeError("no conv_states")
        return run(self, embeds, **{**arguments, "past_key_values": None})

    monkeypatch.setattr(type(model), "hidden_states", hidden_states)
    words = "keeps no keys and values" if problem == "keeps none" else r"keys and values \(no conv_states\)"
    with torch.no_grad(), pytest.raises(NotExportable, match=words):
        LanguagePart(model)
