"""Inception-v3: the network and resizing of torch-fidelity, and a sentence for weights that don't fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.inception import InceptionV3, inception_features, resize_like_tensorflow_1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights from numpy's generator that keep activations in range through all layers."""
    rng = np.random.default_rng(0)
    tensors = InceptionV3().state_dict()
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2.0, tensor.shape)
        elif name.endswith("bn.weight"):
            values = rng.uniform(0.8, 1.5, tensor.shape)
        elif tensor.ndim == 1:
            values = rng.normal(0.0, 0.1, tensor.shape)
        elif tensor.ndim > 1:
            values = rng.normal(0.0, 1.0, tensor.shape) * (2.0 / tensor[0].numel()) ** 0.5
        else:
            continue
        tensors[name] = torch.from_numpy(np.asarray(values)).to(tensor.dtype)
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(tensors, path)
    return path


def picture(width: int = 90, height: int = 120) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_features_and_logits_are_torch_fidelitys(weights: Path) -> None:
    features, logits = inception_features(weights)([picture(), picture(299, 299)])
    assert logits is not None
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)
    # Made with torch-fidelity 0.4.0's FeatureExtractorInceptionV3 on the same weights and pictures.
    assert features[0, :3] == pytest.approx([5.35853, 81.26130, 55.55643], rel=1e-4)
    assert [features.mean(), logits.std()] == pytest.approx([17.97153, 41.57144], rel=1e-4)


def test_the_network_is_torch_fidelitys_layer_by_layer(weights: Path, tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", exc_type=ImportError)
    from safetensors.torch import load_file

    torch.save(load_file(weights), tmp_path / "inception.pth")
    theirs = fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=tmp_path / "inception.pth"
    )
    image = picture()
    expected = theirs(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])
    ours = inception_features(tmp_path / "inception.pth")([image])
    for mine, other in zip(ours, expected, strict=True):
        assert mine == pytest.approx(other.numpy(), rel=1e-4, abs=1e-3)


def test_resizing_has_no_half_pixel_centers() -> None:
    row = torch.tensor([[[[0.0, 10.0, 20.0, 30.0]]]]).repeat(1, 1, 4, 1)
    assert resize_like_tensorflow_1(row, 8)[0, 0, 0].tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0]
    assert resize_like_tensorflow_1(row, 2)[0, 0, 0].tolist() == [0.0, 20.0]


def test_missing_and_foreign_weights_are_named(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(InputError, match=r"v0\.2\.0"):
        inception_features(tmp_path / "none.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    for name in ("broken.pth", "other.pth", "list.pth", "cut.safetensors"):
        with pytest.raises(InputError, match=name):
            inception_features(tmp_path / name)
