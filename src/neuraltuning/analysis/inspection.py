"""Looks into one reply: which neurons were active while it was written, and where its words looked in the image.

    inspection = inspect_reply(model, image, "Please segment the cat.", "The cat <OBJ>.")
    inspection.looks[0].map          # (grid rows, grid columns) where the first <OBJ> looked
    inspection.active[12]            # (d_z,) how often each neuron of layer 12 was active

One pass of the language model over prompt and reply, which gives what generating the same reply with a cache would: the
reply may be the model's own or a true one. Knows nothing of data sets, tasks or files.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from neuraltuning.errors import InputError
from neuraltuning.packing import IMAGE_PLACE
from neuraltuning.tuners.neural import NeuralTuningConfig, record_activations

if TYPE_CHECKING:
    from neuraltuning.encoders.base import ImageFeatures
    from neuraltuning.model import MultitaskModel

OBJECT_TOKEN = "<OBJ>"
PARTS = ("start", "patches", "names", "prompt", "reply")
"""Where attention can go: the token that opens every sequence, the image's patches, the description behind them
(`naming.py`), the prompt with its template and earlier turns, and the reply up to the looking token itself."""

_switching = threading.Lock()  # two threads must not restore each other's attention


@dataclass(frozen=True, eq=False)
class Look:
    """Where one word or task token of a reply looked: the attention weights at its own position.

    Attributes:
        word: "<OBJ>", or the word that was asked about as the reply spells it.
        places: its tokens, counted from 0 in `Inspection.tokens`; weights of several tokens are averaged.
        weights: (layers, heads, grid rows, grid columns) float32 on the image's patches; those that share a position
            (`ModelSettings.pooling`) have its weight in equal parts.
        described: of the same shape, the weights on the names behind the patches, each laid in equal parts on the
            patches that the name describes; zeros without names.
        shares: part of `PARTS` -> (layers, heads) float32, the share of the attention that went there; they add up
            to 1 but for rounding, and that of "patches" is what `weights` adds up to.
    """

    word: str
    places: tuple[int, ...]
    weights: NDArray[np.float32]
    described: NDArray[np.float32]
    shares: Mapping[str, NDArray[np.float32]]

    @property
    def map(self) -> NDArray[np.float32]:
        """(grid rows, grid columns) float32, `weights` averaged over layers and heads."""
        averaged: NDArray[np.float32] = self.weights.mean(axis=(0, 1))
        return averaged

    @property
    def described_map(self) -> NDArray[np.float32]:
        """(grid rows, grid columns) float32, `described` averaged over layers and heads."""
        averaged: NDArray[np.float32] = self.described.mean(axis=(0, 1))
        return averaged


@dataclass(frozen=True, eq=False)
class Inspection:
    """What went on in the language model while it read an image and a prompt and wrote a reply.

    Attributes:
        tokens: the reply's tokens as text, the end of the reply last.
        active: number of a tuned layer -> (d_z,) float32 in 0..1, the share of the reply's tokens at whose prediction
            each neuron was active; empty where the tuner has no sparse neurons.
        looks: one for each `<OBJ>` of the reply in order, then those of the words that were asked about; none without
            an image.
    """

    tokens: tuple[str, ...]
    active: Mapping[int, NDArray[np.float32]]
    looks: tuple[Look, ...]


def inspect_reply(
    model: MultitaskModel,
    image: Image.Image | None,
    text: str,
    reply: str,
    words: Sequence[str] = (),
    earlier: Sequence[tuple[str, str]] = (),
) -> Inspection:
    """Reads `reply` behind `image` and `text` once, and notes neurons and attention.

    Args:
        model: a tuned model; it is left as it was.
        image: the picture that the text is about, or None.
        text: the request.
        reply: the answer to it, with its task tokens: `Reply.text`, or a true one.
        words: further words of the reply whose attention is wanted; case makes no difference.
        earlier: (prompt, reply) of the turns before the request, oldest first; they count as a part of the prompt.

    Raises:
        InputError: the text or the reply is empty, they are too long for the model, a word isn't in the reply, or the
            language model has no attention weights.
    """
    if not text.strip() or not reply.strip():
        raise InputError("Looking into a reply needs the request and the reply, and one of them is empty.")
    prompt_ids, reply_ids = model.format.conversation_ids(earlier, text), model.format.reply_ids(reply)
    bos = [] if model.format.bos_id is None else [model.format.bos_id]
    n_image = 0 if image is None else model.image_length
    ids = torch.tensor([[*bos, *[IMAGE_PLACE] * n_image, *prompt_ids, *reply_ids]], device=model.device)
    limit = model.language_model.config.get_text_config().max_position_embeddings
    if ids.shape[1] > limit:
        raise InputError(
            f"Image, request and reply take {ids.shape[1]:,} tokens, and the model has room for {limit:,}; shorten the "
            "texts."
        )
    start = ids.shape[1] - len(reply_ids)
    wanted = [] if image is None else _wanted(model, reply, reply_ids, words)
    described = np.zeros((0, 0), dtype=np.float32)
    with torch.no_grad(), eager_attention(model.language_model), model.evaluating():
        if image is None:
            embeds = model.embed(ids)
        else:
            features, tokens = model.see(model.encoder.preprocess([image]))
            embeds = model.embed(ids, tokens, torch.zeros(1, dtype=torch.int64, device=model.device))
            described = _described(model, features)
        with _recorded(model) as activations:
            output = model.hidden_states(embeds, output_attentions=bool(wanted), use_cache=False)
    # the position before a token predicts it
    active = {layer: record[0, start - 1 : -1].float().mean(0).cpu().numpy() for layer, record in activations().items()}
    attentions = _attentions(output, model) if wanted else ()
    pooled = model.pooled.cpu().numpy()
    n_patches = min(len(pooled), n_image)
    ends = np.cumsum([len(bos), n_patches, n_image - n_patches, len(prompt_ids), len(reply_ids)])
    looks = []
    for word, places in wanted:
        rows = torch.stack([layer[0, :, [start + place for place in places]].float().mean(1) for layer in attentions])
        parts = dict(zip(PARTS, np.split(rows.cpu().numpy(), ends[:-1], axis=-1), strict=True))
        grid = (*rows.shape[:2], *model.encoder.grid)
        looks.append(
            Look(
                word,
                places,
                weights=(parts["patches"] @ pooled).reshape(grid),
                described=(parts["names"] @ described).reshape(grid),
                shares={name: part.sum(-1) for name, part in parts.items()},
            )
        )
    return Inspection(tuple(model.format.tokenizer.decode([i]) for i in reply_ids), active, tuple(looks))


@contextmanager
def eager_attention(llm: PreTrainedModel) -> Iterator[None]:
    """Lets `llm` compute its attention so that the weights can be seen; one block at a time, whatever the thread."""
    with _switching:
        before = llm.config._attn_implementation
        llm.set_attn_implementation("eager")
        try:
            yield
        finally:
            llm.set_attn_implementation(before)


@contextmanager
def _recorded(model: MultitaskModel) -> Iterator[Callable[[], dict[int, Tensor]]]:
    """Yields what gives layer -> (1, T, d_z) booleans after a pass; none with another tuner."""
    if not isinstance(model.llm.active_peft_config, NeuralTuningConfig):
        yield dict
        return
    with record_activations(model.llm, model.llm.active_adapter) as record:
        yield record.joined


def _attentions(output: Any, model: MultitaskModel) -> Sequence[Tensor]:
    """(1, heads, T, T) weights of each layer."""
    attentions = getattr(output, "attentions", None)
    if not attentions or not all(isinstance(layer, Tensor) for layer in attentions):
        raise InputError(f"{type(model.language_model).__name__} gives no attention weights, so none can be shown.")
    return tuple(attentions)


def _described(model: MultitaskModel, features: ImageFeatures) -> NDArray[np.float32]:
    """(name slots, patches) float32, the share of each patch in what a token of the names describes."""
    if model.naming is None:
        return np.zeros((0, features.tokens.shape[1]), dtype=np.float32)
    shares: NDArray[np.float32] = model.naming(features.tokens).shares[0].cpu().numpy()
    return shares


def _wanted(
    model: MultitaskModel, reply: str, reply_ids: Sequence[int], words: Sequence[str]
) -> list[tuple[str, tuple[int, ...]]]:
    """The words whose attention is wanted, each with the places of its tokens in the reply."""
    object_id = model.format.tokenizer.convert_tokens_to_ids(OBJECT_TOKEN)
    found: list[tuple[str, tuple[int, ...]]] = [
        (OBJECT_TOKEN, (place,)) for place, i in enumerate(reply_ids) if i == object_id
    ]
    for word in words:
        match = re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", reply, re.IGNORECASE) if word.strip() else None
        if match is None:
            raise InputError(f"The reply {reply!r} has no word {word!r}; name one that it has.")
        places = _token_places(model, reply, *match.span())
        found.append((match.group(), places))
    return found


def _token_places(model: MultitaskModel, reply: str, first: int, last: int) -> tuple[int, ...]:
    """The tokens of the reply that spell its characters first..last-1."""
    spans = model.format.tokenizer(" " + reply, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    # the reply stands behind a space, see `PromptFormat.reply_ids`
    return tuple(place for place, (a, b) in enumerate(spans) if a < last + 1 and b > first + 1)
