from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from neuraltuning.model import MultitaskModel
from tests.tiny_models import lively, model_settings


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """A tiny random model, which no test changes; a token of its names describes two patches."""
    folder = tmp_path_factory.mktemp("models")
    model = lively(MultitaskModel.build(model_settings(folder, names={"slots": 5})))
    assert model.naming is not None

    def describe(module: nn.Module, inputs: Any, said: Any) -> None:
        said.shares.zero_()[0, 2, [5, 6]] = 0.5

    model.naming.register_forward_hook(describe)
    return model
