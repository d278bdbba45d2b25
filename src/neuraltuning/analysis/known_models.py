"""Configurations of models whose cost is asked for without their weights: the papers' language models and encoders.

Knows sizes from the models' published configuration files, and how to read other models' from a folder; loads no weight
but those of the embedded encoder, which is small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    PretrainedConfig,
    SamConfig,
    SamModel,
    SamVisionConfig,
)

from neuraltuning.embedded import smollm2_folder
from neuraltuning.encoders import load_encoder
from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.encoders.efficientnet import is_embedded_name
from neuraltuning.encoders.transformers_vision import TransformersVisionEncoder
from neuraltuning.errors import InputError
from neuraltuning.hub import pretrained_arguments
from neuraltuning.llm import EMBEDDED_LLM

LLAMA2_7B, LLAMA2_13B = "llama2-7b", "llama2-13b"
CLIP_L = "clip-vit-large-patch14"

_LLAMA2: dict[str, Any] = {"vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": False}
LLMS: dict[str, dict[str, Any]] = {
    LLAMA2_7B: {
        **_LLAMA2,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    LLAMA2_13B: {
        **_LLAMA2,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    },
}
"""Short name -> `LlamaConfig`'s settings, from the models' config.json."""
_CLIP_L: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
}
_SAM_VIT_H: dict[str, Any] = {
    "hidden_size": 1280,
    "mlp_dim": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "global_attn_indexes": [7, 15, 23, 31],
}
_HUB_NAMES = {
    "meta-llama/Llama-2-7b-hf": LLAMA2_7B,
    "meta-llama/Llama-2-7b-chat-hf": LLAMA2_7B,
    "meta-llama/Llama-2-13b-hf": LLAMA2_13B,
    "meta-llama/Llama-2-13b-chat-hf": LLAMA2_13B,
    "openai/clip-vit-large-patch14": CLIP_L,
}


def llm_config(name: str) -> PretrainedConfig:
    """The configuration of a language model.

    Args:
        name: one of `LLMS`, the Hugging Face name of one of these, the embedded model, a folder, or a GGUF file.

    Raises:
        InputError: there is no such configuration here.
    """
    short = _HUB_NAMES.get(name, name)
    if short in LLMS:
        return LlamaConfig(**LLMS[short])
    return _auto_config(str(smollm2_folder()) if name == EMBEDDED_LLM else name, "language model")


def meta_encoder(name: str) -> ImageEncoder:
    """An image encoder without content, on the meta device.

    Args:
        name: `CLIP_L` or its Hugging Face name, the embedded encoder, or the folder of a transformers vision model.

    Raises:
        InputError: there is no such configuration here, or it describes no encoder with patch features.
    """
    if is_embedded_name(name):
        return load_encoder(name).to("meta")
    config: Any
    if _HUB_NAMES.get(name, name) == CLIP_L:
        config = CLIPVisionConfig(**_CLIP_L)
    else:
        config = _auto_config(name, "image encoder")
    if config.model_type == "clip":
        config.vision_config.projection_dim = config.projection_dim
        config = config.vision_config
    is_clip = config.model_type == "clip_vision_model"
    config = getattr(config, "vision_config", config)
    try:
        with torch.device("meta"):
            # plain attention, because fused attention kernels are not counted on every device
            made = (
                CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager")
                if is_clip
                else AutoModel.from_config(config, attn_implementation="eager")
            )
    except ValueError as error:
        raise InputError(f"{name} describes no vision model that transformers knows.") from error
    return TransformersVisionEncoder(made.eval(), name=name)


def meta_sam() -> SamModel:
    """SAM with its largest image encoder (ViT-H), as LISA uses it, on the meta device."""
    with torch.device("meta"):
        return SamModel._from_config(
            SamConfig(vision_config=SamVisionConfig(**_SAM_VIT_H)), attn_implementation="eager"
        ).eval()


def is_papers_pair(llm: str, encoder: str) -> bool:
    """Whether these are LLaMA2-7B and CLIP-ViT-L/14, which the papers' figures are of."""
    return _HUB_NAMES.get(llm, llm) == LLAMA2_7B and _HUB_NAMES.get(encoder, encoder) == CLIP_L


def _auto_config(name: str, what: str) -> Any:
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"There is no GGUF file {path}.")
        return AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    arguments = pretrained_arguments(name, what)
    try:
        return AutoConfig.from_pretrained(name, **arguments)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"The configuration of the {what} {name!r} can't be read: {reason}") from error
