"""Frozen image encoders: patch tokens for the LLM, feature maps for mask decoders, one embedding for `<GEN>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuraltuning.encoders.base import ImageEncoder, ImageFeatures

if TYPE_CHECKING:
    import torch

__all__ = ["ImageEncoder", "ImageFeatures", "load_encoder"]


def load_encoder(
    name_or_path: str, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> ImageEncoder:
    """Loads a frozen image encoder.

    Args:
        name_or_path: "efficientnet-lite0" (weights from its package), which sees pictures of 224 pixels a side, with
            "-SIDE" behind it for other sides, multiples of 32 up to 512 ("efficientnet-lite0-320"); or the folder or
            hub id of a transformers vision model with patch features (CLIP, SigLIP, DINOv2).
        dtype: of weights and features; float32 by default.
        device: "cpu" by default.

    Raises:
        InputError: there is no such encoder, its weights are missing, or it gives no patch features.
    """
    from neuraltuning.encoders.efficientnet import EfficientNetLite0, find_weights, is_embedded_name
    from neuraltuning.encoders.transformers_vision import load_transformers_vision

    encoder: ImageEncoder
    if is_embedded_name(name_or_path):
        encoder = EfficientNetLite0(find_weights(), name=name_or_path)
    else:
        encoder = load_transformers_vision(name_or_path, dtype=dtype)
    return encoder.to(device=device, dtype=dtype)
