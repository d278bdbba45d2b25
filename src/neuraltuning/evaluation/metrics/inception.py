"""Inception-v3 as FID's, KID's and IS's literature uses it, for those who have its weights.

    features = inception_features(Path("weights-inception-2015-12-05-6726825d.pth"))
    metric = GenerationMetric(features)            # fid_inception-v3, kid_inception-v3, is_inception-v3

The weights (95 MB) are torch-fidelity's conversion of TensorFlow's 2015 network; torch-fidelity's release v0.2.0 has
them. They are not torchvision's: the 2015 network averages without the padding, takes a maximum in its last block's
pooling branch, and has 1,008 classes. Pictures are resized to 299 x 299 as TensorFlow 1 did it (bilinear, no half-pixel
centers, no antialiasing), which moves FID by whole points. Verified against torch-fidelity 0.4.0.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.image_features import FeatureExtractor

NAME = "inception-v3"
SIDE = 299
CLASSES = 1008
_UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError)


class _Layer(NamedTuple):
    """A convolution of a block: its name in the weights, output channels, kernel (height, width) and stride."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class _Branch(NamedTuple):
    """Layers one after the other, behind a pooling or none; layers in a tuple of their own run side by side."""

    layers: tuple[_Layer | tuple[_Layer, ...], ...]
    pooling: str = ""


def _block_a(pooled: int) -> tuple[_Branch, ...]:
    double = (_Layer("branch3x3dbl_1", 64), _Layer("branch3x3dbl_2", 96, (3, 3)), _Layer("branch3x3dbl_3", 96, (3, 3)))
    return (
        _Branch((_Layer("branch1x1", 64),)),
        _Branch((_Layer("branch5x5_1", 48), _Layer("branch5x5_2", 64, (5, 5)))),
        _Branch(double),
        _Branch((_Layer("branch_pool", pooled),), "average"),
    )


def _block_b() -> tuple[_Branch, ...]:
    double = (
        _Layer("branch3x3dbl_1", 64),
        _Layer("branch3x3dbl_2", 96, (3, 3)),
        _Layer("branch3x3dbl_3", 96, (3, 3), 2),
    )
    return (_Branch((_Layer("branch3x3", 384, (3, 3), 2),)), _Branch(double), _Branch((), "halve"))


def _block_c(inner: int) -> tuple[_Branch, ...]:
    wide, high = (1, 7), (7, 1)
    single = (_Layer("branch7x7_1", inner), _Layer("branch7x7_2", inner, wide), _Layer("branch7x7_3", 192, high))
    double = (
        _Layer("branch7x7dbl_1", inner),
        _Layer("branch7x7dbl_2", inner, high),
        _Layer("branch7x7dbl_3", inner, wide),
        _Layer("branch7x7dbl_4", inner, high),
        _Layer("branch7x7dbl_5", 192, wide),
    )
    pooled = _Branch((_Layer("branch_pool", 192),), "average")
    return (_Branch((_Layer("branch1x1", 192),)), _Branch(single), _Branch(double), pooled)


def _block_d() -> tuple[_Branch, ...]:
    single = (_Layer("branch3x3_1", 192), _Layer("branch3x3_2", 320, (3, 3), 2))
    seven = (
        _Layer("branch7x7x3_1", 192),
        _Layer("branch7x7x3_2", 192, (1, 7)),
        _Layer("branch7x7x3_3", 192, (7, 1)),
        _Layer("branch7x7x3_4", 192, (3, 3), 2),
    )
    return (_Branch(single), _Branch(seven), _Branch((), "halve"))


def _block_e(pooling: str) -> tuple[_Branch, ...]:
    single = (_Layer("branch3x3_2a", 384, (1, 3)), _Layer("branch3x3_2b", 384, (3, 1)))
    double = (_Layer("branch3x3dbl_3a", 384, (1, 3)), _Layer("branch3x3dbl_3b", 384, (3, 1)))
    return (
        _Branch((_Layer("branch1x1", 320),)),
        _Branch((_Layer("branch3x3_1", 384), single)),
        _Branch((_Layer("branch3x3dbl_1", 448), _Layer("branch3x3dbl_2", 384, (3, 3)), double)),
        _Branch((_Layer("branch_pool", 192),), pooling),
    )


class _Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, layer: _Layer, *, padded: bool) -> None:
        super().__init__()
        padding = (layer.kernel[0] // 2, layer.kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, layer.channels, layer.kernel, stride=layer.stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(layer.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Branches side by side, their outputs one after the other: (B, `inputs`, h, w) -> (B, `outputs`, h', w')."""

    def __init__(self, inputs: int, branches: Sequence[_Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.outputs = 0
        for branch in branches:
            channels = inputs
            for step in branch.layers:
                parallel = step if not isinstance(step, _Layer) else (step,)
                for layer in parallel:
                    # Halving layers and poolings see no padding.
                    self.add_module(layer.name, _Convolution(channels, layer, padded=layer.stride == 1))
                channels = sum(layer.channels for layer in parallel)
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self.branches], dim=1)

    def _run(self, branch: _Branch, x: Tensor) -> Tensor:
        if branch.pooling == "average":
            x = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        elif branch.pooling == "maximum":
            x = F.max_pool2d(x, 3, stride=1, padding=1)
        elif branch.pooling == "halve":
            x = F.max_pool2d(x, 3, stride=2)
        for step in branch.layers:
            parallel = step if not isinstance(step, _Layer) else (step,)
            x = torch.cat([self.get_submodule(layer.name)(x) for layer in parallel], dim=1)
        return x


class InceptionV3(nn.Module):
    """TensorFlow's Inception-v3 of 2015 with torch-fidelity's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, _Layer("", 32, (3, 3), 2), padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, _Layer("", 32, (3, 3)), padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, _Layer("", 64, (3, 3)), padded=True)
        self.Conv2d_3b_1x1 = _Convolution(64, _Layer("", 80), padded=False)
        self.Conv2d_4a_3x3 = _Convolution(80, _Layer("", 192, (3, 3)), padded=False)
        tables = {
            "Mixed_5b": _block_a(32),
            "Mixed_5c": _block_a(64),
            "Mixed_5d": _block_a(64),
            "Mixed_6a": _block_b(),
            "Mixed_6b": _block_c(128),
            "Mixed_6c": _block_c(160),
            "Mixed_6d": _block_c(160),
            "Mixed_6e": _block_c(192),
            "Mixed_7a": _block_d(),
            "Mixed_7b": _block_e("average"),
            "Mixed_7c": _block_e("maximum"),
        }
        self._mixed = tuple(tables)
        channels = 192
        for name, branches in tables.items():
            block = _Block(channels, branches)
            self.add_module(name, block)
            channels = block.outputs
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 -> (B, 2048) pooled features and (B, 1008) logits without their bias, as IS uses them."""
        x = (resize_like_tensorflow_1(pixels.float(), SIDE) - 128.0) / 128.0
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)
        for name in self._mixed:
            x = self.get_submodule(name)(x)
        features = x.mean(dim=(2, 3))
        return features, features @ self.fc.weight.T


def inception_features(weights: Path) -> FeatureExtractor:
    """The network under the name "inception-v3".

    Args:
        weights: torch-fidelity's file, or the same tensors as safetensors.

    Raises:
        InputError: the file is missing, can't be read, or holds another network.
    """
    if not weights.is_file():
        raise InputError(
            f"There are no Inception-v3 weights at {weights}: download weights-inception-2015-12-05-6726825d.pth from "
            "torch-fidelity's release v0.2.0, or use the features of an encoder (`named_features`)."
        )
    network = InceptionV3()
    try:
        if weights.suffix == ".safetensors":
            tensors = load_file(weights)
        else:
            tensors = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(tensors)
    except _UNREADABLE as error:
        raise InputError(f"{weights} doesn't hold torch-fidelity's Inception-v3: {str(error)[:200]}") from error
    network.requires_grad_(False).eval()

    def extract(images: Sequence[Image.Image]) -> tuple[NDArray[Any], NDArray[Any]]:
        pairs = [network(_pixels(image)) for image in images]  # one at a time: sizes may differ
        return torch.cat([pair[0] for pair in pairs]).numpy(), torch.cat([pair[1] for pair in pairs]).numpy()

    return FeatureExtractor(NAME, extract)


def resize_like_tensorflow_1(pixels: Tensor, side: int) -> Tensor:
    """(B, C, H, W) float -> (B, C, side, side), bilinear around `i * H / side` for output i."""
    for dim in (2, 3):
        size = pixels.shape[dim]
        place = torch.arange(side, dtype=torch.float32) * torch.tensor(size / side, dtype=torch.float32)
        low = place.long()
        high = (low + 1).clamp_max(size - 1)
        weight = (place - low).view([-1 if d == dim else 1 for d in range(4)])
        first, second = pixels.index_select(dim, low), pixels.index_select(dim, high)
        pixels = first + (second - first) * weight
    return pixels


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
