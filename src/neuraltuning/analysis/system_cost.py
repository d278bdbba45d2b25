"""What one pass of the whole system costs, by parts and tuning methods, without weights.

    neuraltuning analyse cost                        # LLaMA2-7B with CLIP-ViT-L/14
    neuraltuning analyse cost configs/benchmark.yaml

One pass reads an image and a text with its reply once, as training does and as the papers count: image encoder,
projector, all layers and the head of the language model at every position, and the decoder of one `<OBJ>`. Counted
are matrix products and convolutions, a multiply-add as two operations; half of that is what others call MACs and some
papers FLOPs. Knows nothing of runs or tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PretrainedConfig

from neuraltuning.analysis.cost import Cost, bare_cost, cost
from neuraltuning.analysis.known_models import llm_config, meta_encoder, meta_sam
from neuraltuning.box_votes import BoxVotes
from neuraltuning.bridge import Bridge, Readings
from neuraltuning.decoders import build_decoder
from neuraltuning.decoders.base import StateShape
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.model_settings import ModelSettings
from neuraltuning.naming import ATTRIBUTES, PatchClassifier
from neuraltuning.projector import Projector, pooled_patches
from neuraltuning.tuners import tuner_config

PARTS = ("encoder", "projector", "llm", "tuner", "decoder")
MENTION = 8
"""Tokens of the words before an `<OBJ>` that a bridge reads, for the count."""
MIT_LAYERS = (13, 17, 21, 25, 29, 32)
"""Multimodal infusion tuning's layers, of `MIT_DEPTH` (its paper, section 3.2)."""
MIT_DEPTH = 32
LISA_HIDDEN = 256
"""Size of SAM's prompts, which LISA's two-layer perceptron maps to."""


@dataclass(frozen=True)
class MethodCost:
    """The cost of one pass with one way of tuning.

    Attributes:
        method: "neural_tuning", "lora", "prefix_tuning", "mit" or "sam_decoder".
        about: what it is, with its size.
        tokens: positions of the language model.
        parameters: by part, all that must be in memory.
        trained: parameters that are trained.
        flops: operations by part, a multiply-add counting two.
        inference_bytes: estimated memory of the pass: weights (16 bits where frozen, 32 where trained), keys and
            values.
        training_bytes: estimated memory of a training step with Adam without checkpointing; of the language model and
            its tuner alone. None where the method isn't built here.
    """

    method: str
    about: str
    tokens: int
    parameters: Mapping[str, int]
    trained: int
    flops: Mapping[str, int]
    inference_bytes: int
    training_bytes: int | None

    @property
    def total_flops(self) -> int:
        """Operations of all parts."""
        return sum(self.flops.values())

    @property
    def trained_share(self) -> float:
        """Trained parameters over all."""
        return self.trained / sum(self.parameters.values())


@dataclass(frozen=True)
class Counted:
    """Parameters and operations of a part."""

    parameters: int
    flops: int


def system_costs(
    settings: ModelSettings, *, image_tokens: int | None = None, text_tokens: int = 100
) -> dict[str, MethodCost]:
    """The costs of a pass with each method.

    Args:
        settings: the model; of its tuner settings each method takes its own, and methods without any are made as large
            as neural tuning.
        image_tokens: positions that an image takes; by default those of the encoder and the names.
        text_tokens: positions of the prompt and the reply.

    Raises:
        InputError: a number of tokens below 1, or a part that has no configuration here.
    """
    config = llm_config(settings.llm)
    encoder = meta_encoder(settings.encoder)
    if image_tokens is None:
        image_tokens = len(pooled_patches(encoder.grid, settings.pooling)) + settings.names.slots
    for name, value in (("image tokens", image_tokens), ("text tokens", text_tokens)):
        if value < 1:
            raise InputError(f"A pass needs at least 1 of the {name}, got {value}.")
    hidden_size = config.get_text_config().hidden_size
    with torch.device("meta"):
        pixels = torch.zeros(1, 3, encoder.image_size, encoder.image_size)
        seen = count(encoder, lambda: encoder(pixels))
        features = encoder(pixels)
        projector = _projector(settings, encoder, features, hidden_size)
        decoder, trained_heads = _decoder(settings, encoder, features, hidden_size)
        sam_encoder, sam_decoder = _sam()
    tokens = image_tokens + text_tokens
    tuners = {"neural_tuning": _configured(settings, "neural_tuning", None, config)}
    for method in ("lora", "prefix_tuning"):
        tuners[method] = _configured(settings, method, tuners["neural_tuning"], config)
    llm = {method: cost(config, tuner, tokens=tokens) for method, tuner in tuners.items()}
    found = {}
    heads = projector.parameters + trained_heads
    for method, counted in llm.items():
        parts = {"encoder": seen, "projector": projector, "decoder": decoder}
        found[method] = _method(method, _about(method, tuners[method]), tokens, counted, parts, heads)
    found["mit"] = _mit(config, encoder, text_tokens, seen, decoder, trained_heads)
    prompt = hidden_size * hidden_size + hidden_size * LISA_HIDDEN
    found["sam_decoder"] = _method(
        "sam_decoder",
        f"{_about('lora', tuners['lora'])}, SAM with ViT-H at 1024 pixels",
        tokens,
        llm["lora"],
        {
            "encoder": seen,
            "projector": projector,
            "decoder": Counted(
                sam_encoder.parameters + sam_decoder.parameters + prompt,
                sam_encoder.flops + sam_decoder.flops + 2 * prompt,
            ),
        },
        projector.parameters + sam_decoder.parameters + prompt,
    )
    return found


def tokens_for(flops: float, method: MethodCost, lengths: tuple[MethodCost, MethodCost]) -> float | None:
    """The positions of the language model at which a pass of `method` would take so many operations.

    A pass takes c + a T + b T^2 operations at T positions; a and b follow from the language model's at two lengths.

    Args:
        flops: operations, a multiply-add counting two.
        method: the pass.
        lengths: two costs with the same language model at different lengths.

    Returns:
        None where even an empty text takes more.
    """
    (t1, per1), (t2, per2) = ((m.tokens, m.flops["llm"] / m.tokens) for m in lengths)
    b = (per1 - per2) / (t1 - t2)
    a = per1 - b * t1
    fixed = sum(method.flops[part] for part in ("encoder", "projector", "decoder"))
    if method.method == "mit":
        fixed += method.flops["tuner"]  # once an image
    else:
        a += method.flops["tuner"] / method.tokens
    wanted = flops - fixed
    return float(2 * wanted / (a + (a * a + 4 * b * wanted) ** 0.5)) if wanted > 0 else None


def count(module: nn.Module, run: Callable[[], Any]) -> Counted:
    """The parameters of `module` and the operations of `run`, which must not need contents."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return Counted(sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops())


def _projector(settings: ModelSettings, encoder: ImageEncoder, features: ImageFeatures, hidden_size: int) -> Counted:
    """The projector, and the classifiers behind the names."""
    n_tokens = encoder.grid[0] * encoder.grid[1]
    projector = Projector(encoder.token_size, settings.projector_size, n_tokens, hidden_size, 1.0)
    found = count(projector, lambda: projector(features.tokens))
    if not settings.names.slots:
        return found
    vocabulary = settings.names.vocabulary  # of classes, and of backgrounds
    readers = [PatchClassifier(encoder.token_size, size) for size in (vocabulary, ATTRIBUTES, vocabulary)]
    votes = BoxVotes(encoder.token_size, encoder.grid)
    naming = count(projector, lambda: [reader(features.tokens) for reader in (*readers, votes)])
    return Counted(found.parameters, found.flops + naming.flops)


def _decoder(
    settings: ModelSettings, encoder: ImageEncoder, features: ImageFeatures, hidden_size: int
) -> tuple[Counted, int]:
    """The bridge and decoder of one `<OBJ>`; the trained parameters of all decoders, their bridges and task tokens."""
    state = StateShape(settings.state.words, hidden_size, settings.state.size)
    trained, mask = 0, Counted(0, 0)
    for name, options in settings.decoders.items():
        with torch.device("cpu"):  # some read weights
            decoder = build_decoder(name, state, encoder, options)
        decoder.to("meta")
        bridge = Bridge(settings.state.sources, torch.zeros(hidden_size), state)
        rows = 2 * hidden_size
        trained += sum(p.numel() for part in (decoder, bridge) for p in part.parameters()) + rows
        if isinstance(decoder, MaskDecoder):
            mask = _one_mask(decoder, bridge, features, hidden_size)
    return mask, trained


def _one_mask(decoder: MaskDecoder, bridge: Bridge, features: ImageFeatures, hidden_size: int) -> Counted:
    readings = Readings(
        torch.zeros(1, hidden_size * len(bridge.sources)),
        torch.zeros(1, MENTION, hidden_size),
        torch.ones(1, MENTION, dtype=torch.bool),
    )
    shown = replace(features, words=torch.zeros(*features.tokens.shape[:2], hidden_size))
    owners = torch.zeros(1, dtype=torch.int64)
    return count(nn.ModuleList([decoder, bridge]), lambda: decoder(bridge(readings), shown, owners))


def _sam() -> tuple[Counted, Counted]:
    """SAM's image encoder, and its mask decoder for one prompt."""
    sam = meta_sam()
    size = sam.config.vision_config.image_size
    width = sam.config.prompt_encoder_config.hidden_size
    with torch.no_grad():
        embeddings = torch.zeros(1, width, *[size // sam.config.vision_config.patch_size] * 2)
        encoder = count(sam.vision_encoder, lambda: sam.get_image_embeddings(torch.zeros(1, 3, size, size)))
    decoder = count(
        sam.mask_decoder,
        lambda: sam.mask_decoder(
            image_embeddings=embeddings,
            image_positional_embeddings=torch.zeros_like(embeddings),
            sparse_prompt_embeddings=torch.zeros(1, 1, 1, width),
            dense_prompt_embeddings=torch.zeros_like(embeddings),
            multimask_output=False,
        ),
    )
    return encoder, decoder


def _configured(settings: ModelSettings, method: str, as_large_as: PeftConfig | None, config: PretrainedConfig) -> Any:
    own = settings.tuner.settings.get(method)
    if own is None and as_large_as is not None:
        return tuner_config(method, match_parameters=as_large_as, model=config)
    return tuner_config(method, **(own or {}))


def _about(method: str, tuner: Any) -> str:
    if method == "neural_tuning":
        return f"d_z {tuner.d_z} on {tuner.targets}"
    return f"rank {tuner.r}" if method == "lora" else f"{tuner.num_virtual_tokens} virtual tokens"


def _method(method: str, about: str, tokens: int, llm: Cost, parts: Mapping[str, Counted], heads: int) -> MethodCost:
    """Adds the language model with its tuner to the other parts; `heads` are the parameters trained outside of it."""
    counted = {
        **parts,
        "llm": Counted(llm.parameters, llm.flops),
        "tuner": Counted(llm.tuner_parameters, llm.tuner_flops),
    }
    parameters = {part: counted[part].parameters for part in PARTS}
    trained = llm.tuner_parameters + heads
    return MethodCost(
        method=method,
        about=about,
        tokens=tokens,
        parameters=parameters,
        trained=trained,
        flops={part: counted[part].flops for part in PARTS},
        inference_bytes=2 * (sum(parameters.values()) - trained) + 4 * trained + llm.cache_bytes,
        training_bytes=llm.training_bytes,
    )


def _mit(
    config: PretrainedConfig, encoder: ImageEncoder, text_tokens: int, seen: Counted, decoder: Counted, heads: int
) -> MethodCost:
    """Multimodal infusion tuning (its paper, section 3.2), which is not built here: counted from its formulas.

    It adds no tokens, so the language model reads the text alone. In each chosen layer four maps give the factors and
    summands of keys and values from the image's one embedding, one gives the factors of the feed-forward layer, and one
    brings the embedding to the size of a head. They are applied once an image; what is done to each token is no matrix
    product.
    """
    text = config.get_text_config()
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    key_value_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = key_value_heads * head_size
    outputs = 4 * width + text.intermediate_size + (head_size if encoder.embedding_size != head_size else 0)
    layers = {round(layer * text.num_hidden_layers / MIT_DEPTH) for layer in MIT_LAYERS}
    own = Counted(
        len(layers) * ((encoder.embedding_size + 1) * outputs + key_value_heads),
        len(layers) * 2 * encoder.embedding_size * outputs,
    )
    bare = bare_cost(config, tokens=text_tokens)
    counted = {"encoder": seen, "projector": Counted(0, 0), "llm": Counted(bare.parameters, bare.flops)}
    counted |= {"tuner": own, "decoder": decoder}
    parameters = {part: counted[part].parameters for part in PARTS}
    trained = own.parameters + heads
    return MethodCost(
        method="mit",
        about=f"layers {', '.join(map(str, sorted(layers)))}",
        tokens=text_tokens,
        parameters=parameters,
        trained=trained,
        flops={part: counted[part].flops for part in PARTS},
        inference_bytes=2 * (sum(parameters.values()) - trained) + 4 * trained + bare.cache_bytes,
        training_bytes=None,
    )
