"""A tiny model that names what it sees, and the folder that it is exported to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neuraltuning.export.folder import export_onnx
from neuraltuning.model import MultitaskModel
from neuraltuning.naming import Naming, PatchClassifier
from tests.tiny_models import lively, model_settings


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """Neural tuning over three layers, states with words, names."""
    parts = tmp_path_factory.mktemp("models")
    model = lively(MultitaskModel.build(model_settings(parts, names={"slots": 48, "vocabulary": 6}, pooling=2)), seed=1)
    assert model.naming is not None
    make_lively(model.naming)
    return model


@pytest.fixture(scope="package")
def saved(model: MultitaskModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own folder."""
    return model.save_pretrained(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="package")
def exported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `neuraltuning export` writes."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    export_onnx(saved, folder)
    return folder


@torch.no_grad()
def make_lively(naming: Naming) -> None:
    """A naming that knows some names by chance."""
    generator = torch.Generator().manual_seed(8)

    def make(classifier: PatchClassifier, names: int, first_id: int) -> None:
        classifier.weight[:names] = torch.randn(classifier.weight[:names].shape, generator=generator)
        classifier.bias[:names] = 0.0
        classifier.first.copy_(0.3 * torch.randn(classifier.first.shape, generator=generator))
        classifier.second[:names] = 0.3 * torch.randn(classifier.second[:names].shape, generator=generator)
        classifier.pieces[1:names, :2] = first_id + torch.arange(2 * names - 2).view(-1, 2)

    make(naming.classes, 5, 100)
    make(naming.attributes, 3, 150)
    make(naming.background, 3, 200)
    naming.varied[1:3] = True
    naming.votes.first.copy_(0.3 * torch.randn(naming.votes.first.shape, generator=generator))
    naming.votes.second.copy_(0.3 * torch.randn(naming.votes.second.shape, generator=generator))
