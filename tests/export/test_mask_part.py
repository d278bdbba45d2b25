"""The mask decoder's file without words in its states, the papers' wiring, and with outlines; else it is in
`test_folder.py`."""

from __future__ import annotations

from pathlib import Path

import torch

from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.export.check import check
from neuraltuning.export.mask_part import MaskPart
from neuraltuning.export.tracing import open_file, trace
from neuraltuning.model import MultitaskModel
from tests.tiny_models import lively, model_settings


def test_states_alone_give_the_models_masks(tmp_path: Path) -> None:
    state = {"words": 0, "sources": [["token", -1]]}
    decoders = {"mask": {"channels": [32, 32, 32, 32], "attention_layers": [0, 0, 0]}}
    model = lively(MultitaskModel.build(model_settings(tmp_path, state=state, decoders=decoders)))
    decoder = model.decoder("mask")
    assert isinstance(decoder, MaskDecoder)
    with torch.no_grad():
        part = MaskPart(model, model.bridge("mask"), decoder)
        assert list(part.inputs) == ["tokens", "map.0", "map.1", "map.2", "owners", "states"]
        trace(part, tmp_path / "part.onnx")
        [difference] = check(part, open_file(part.name, tmp_path / "part.onnx")).values()
    assert difference.max_rel < 1e-5


def test_outlines_are_in_the_file(tmp_path: Path) -> None:
    decoders = {"mask": {"channels": [32, 32, 32, 32], "attention_layers": [0, 0, 0], "outlines": 16}}
    model = lively(MultitaskModel.build(model_settings(tmp_path, decoders=decoders)))
    decoder = model.decoder("mask")
    assert isinstance(decoder, MaskDecoder)
    with torch.no_grad():
        part = MaskPart(model, model.bridge("mask"), decoder)
        trace(part, tmp_path / "part.onnx")
        [difference] = check(part, open_file(part.name, tmp_path / "part.onnx")).values()
    assert difference.max_rel < 5e-5  # where mentions are told apart, rounding counts 1 + APART times
