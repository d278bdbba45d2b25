"""Any transformers vision model with patch features (CLIP, SigLIP, DINOv2, ...) as a frozen `ImageEncoder`.

Works from a local folder or a hub id, without torchvision: of the model's processor only mean, deviation and size
are read. Knows nothing of particular families beyond how they name things.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from neuraltuning.encoders.base import ImageEncoder, ImageFeatures, stack_pixels
from neuraltuning.errors import InputError

_MAP_DEPTHS = (14 / 24, 17 / 24, 23 / 24)
"""Depths of the feature maps, fine to coarse in meaning: layers 14, 17 and 23 of CLIP-L's 24 (journal paper, 3.3)."""

_TOKEN_LAYER = -2
"""Patch tokens come from the last layer but one, as LLaVA and the papers' released code take them."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class TransformersVisionEncoder(ImageEncoder):
    """The vision tower of a transformers model.

    tokens: the patch tokens of the last hidden layer but one; leading class and register tokens are dropped unless
    `class_token` asks for the class token in front.
    maps: the patch tokens at 14/24, 17/24 and 23/24 of the depth, as grids.
    embedding: the projected image embedding where the model has one (CLIP), else its pooled output (SigLIP, DINOv2),
    else the mean of the last layer's patch tokens.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        name: str,
        image_mean: Sequence[float] = _IMAGENET_MEAN,
        image_std: Sequence[float] = _IMAGENET_STD,
        image_size: int | None = None,
        class_token: bool = False,
    ) -> None:
        """Wraps a loaded model.

        Args:
            model: returns `hidden_states` for `pixel_values` (B, 3, S, S).
            name: what `load_encoder` was asked for.
            image_mean, image_std: of the model's processor, for pixels in 0..1.
            image_size: side of the square input; the model's own by default.
            class_token: keep the class token as the first token (`grid` still describes the rest).

        Raises:
            InputError: the model has no patch features of a square grid.
        """
        super().__init__()
        self.model = model
        config: Any = model.config
        patch = getattr(config, "patch_size", None)
        layers = getattr(config, "num_hidden_layers", None)
        size = image_size or getattr(config, "image_size", None)
        if not isinstance(patch, int) or not isinstance(layers, int) or not isinstance(size, int):
            raise InputError(
                f"The model {name!r} ({type(model).__name__}) has no square patches of a known size, "
                "so it can't serve as image encoder; name a CLIP, SigLIP or DINOv2 model."
            )
        self.name = name
        self.image_size = size // patch * patch
        self.grid = (self.image_size // patch,) * 2
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)
        self.class_token = class_token
        self._map_layers = tuple(max(1, math.floor(layers * depth + 0.5)) for depth in _MAP_DEPTHS)
        self.freeze()
        pixels = self.preprocess([Image.new("RGB", (8, 8))]).to(next(model.parameters()).device)
        probe = self(pixels, embedding=True)
        assert probe.embedding is not None
        self.token_size = probe.tokens.shape[2]
        self.map_shapes = tuple((m.shape[1], m.shape[2], m.shape[3]) for m in probe.maps)
        self.embedding_size = probe.embedding.shape[1]

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        return stack_pixels(images, self.image_size, self.image_mean, self.image_std)

    @torch.no_grad()
    def forward(self, pixel_values: Tensor, *, embedding: bool = False) -> ImageFeatures:
        dtype = next(self.model.parameters()).dtype
        output = self.model(pixel_values=pixel_values.to(dtype), output_hidden_states=True)
        states: Sequence[Tensor] = output.hidden_states
        patches = self.grid[0] * self.grid[1]
        extra = states[-1].shape[1] - patches
        if extra < 0 or (self.class_token and extra == 0):
            wanted = patches + int(self.class_token)
            raise InputError(
                f"The image encoder {self.name!r} returned {states[-1].shape[1]} tokens where {wanted} are needed; "
                "choose another model" + (" or switch the class token off." if self.class_token else ".")
            )
        tokens = states[_TOKEN_LAYER]
        tokens = torch.cat([tokens[:, :1], tokens[:, extra:]], dim=1) if self.class_token else tokens[:, extra:]
        maps = tuple(
            states[layer][:, extra:].transpose(1, 2).unflatten(2, self.grid).contiguous() for layer in self._map_layers
        )
        whole = _embedding(output, states[-1][:, extra:]) if embedding else None
        return ImageFeatures(tokens=tokens.contiguous(), maps=maps, embedding=whole)


def load_transformers_vision(
    path: str, *, dtype: torch.dtype | None = None, class_token: bool = False
) -> TransformersVisionEncoder:
    """Loads the vision tower of a folder or hub id, in evaluation mode.

    Raises:
        InputError: nothing usable stands there.
    """
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        loader: Any = AutoModel
        if config.model_type in ("clip", "clip_vision_model"):
            loader = CLIPVisionModelWithProjection
            if hasattr(config, "vision_config"):  # the whole pair: its vision part may not know the projection's size
                config.vision_config.projection_dim = config.projection_dim
                config = config.vision_config
        model, info = loader.from_pretrained(
            path, config=config, dtype=dtype or torch.float32, trust_remote_code=False, output_loading_info=True
        )
        if info["missing_keys"] or info["mismatched_keys"]:  # transformers would go on with random weights
            raise ValueError(f"its weights lack {sorted(map(str, info['missing_keys'] or info['mismatched_keys']))[0]}")
        model = getattr(model, "vision_model", model) if hasattr(config, "vision_config") else model
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The image encoder {path!r} could not be loaded ({reason}); name 'efficientnet-lite0', "
            "a folder with a transformers vision model, or a hub id."
        ) from error
    return TransformersVisionEncoder(model, name=path, class_token=class_token, **_processor_settings(path))


def _processor_settings(path: str) -> dict[str, Any]:
    """Mean, deviation and input size from `preprocessor_config.json`; nothing where there is none."""
    from transformers import ImageProcessingMixin

    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(path)
    except OSError:
        return {}
    settings: dict[str, Any] = {k: values[k] for k in ("image_mean", "image_std") if values.get(k)}
    crop = values.get("crop_size") if values.get("do_center_crop", True) else None
    size = crop or values.get("size")
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, int):
        settings["image_size"] = size
    return settings


def _embedding(output: Any, patches: Tensor) -> Tensor:
    """The model's global image embedding (B, E), or the mean of `patches` (B, P, C) where it has none."""
    for field in ("image_embeds", "pooler_output"):
        value = getattr(output, field, None)
        if value is not None:
            return value.flatten(1)
    return patches.mean(dim=1)
