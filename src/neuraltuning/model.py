"""The all-in-token model: frozen image encoder -> projector -> frozen LLM with a tuner -> decoders (SPEC 2).

Image tokens and text tokens form one sequence; task tokens in the reply are decoded to masks, pictures or whatever
else a decoder makes of them. Knows tokens and decoders, and no task's name.

    model = MultitaskModel.from_pretrained("runs/quickstart/model")
    reply = model.reply(Image.open("cat.jpg"), "Please segment the cat.")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neuraltuning.bridge import Bridge
from neuraltuning.decoders import build_decoder
from neuraltuning.decoders.base import Decoder, StateShape
from neuraltuning.encoders import load_encoder
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.generate import Generated, generate
from neuraltuning.llm import load_llm
from neuraltuning.model_settings import ModelSettings, NameSettings
from neuraltuning.naming import NOTHING, Naming
from neuraltuning.packing import IMAGE_PLACE, NO_LABEL, Batch, Packer
from neuraltuning.precision import resolve_dtype
from neuraltuning.prefix import with_prefix
from neuraltuning.projector import Projector, pooled_patches
from neuraltuning.prompt_format import PromptFormat, add_task_tokens
from neuraltuning.reply import Reply, assemble_reply
from neuraltuning.task_tokens import TaskTokens, vocabulary_vectors
from neuraltuning.tasks.base import Example
from neuraltuning.tuners import tuner_config
from neuraltuning.wording import Wording

if TYPE_CHECKING:
    from pathlib import Path

MAX_NEW_TOKENS = 96
FORCED_ROW_LENGTH = 960
"""Of rows of true replies, beside one image's tokens: longer rows pay more for attention than they save."""
PARTS = ("projector", "naming", "task_tokens", "bridges", "decoders")
"""The parts beside the tuner that training changes."""


@dataclass(frozen=True, eq=False)
class Query:
    """What a user asks.

    Attributes:
        image: the picture that the text is about, or None.
        text: the request.
        seed: of a drawn picture; nothing else is random.
        max_new_tokens: the longest reply, in tokens.
    """

    image: Image.Image | None
    text: str
    seed: int = 0
    max_new_tokens: int | None = None


@dataclass
class Losses:
    """What a training step gives.

    Attributes:
        total: scalar, to be differentiated.
        parts: detached scalars by name: "text", "text/captioning", "mask_dice", ...
    """

    total: Tensor
    parts: dict[str, Tensor]


class MultitaskModel(nn.Module):
    """One frozen LLM with a tuner, a frozen image encoder, and the trainable parts around them.

    Attributes:
        settings: what the model is made of.
        llm: the peft model around the LLM.
        encoder: the frozen image encoder.
        projector: image tokens -> LLM.
        naming: describes what image tokens show; None where `settings.names` has no slots for them.
        task_tokens: the new tokens' rows.
        decoders: task token -> decoder (a ModuleDict keyed by the decoders' names; see `decoder_of`).
        format: texts <-> token ids.
        word_mean: (D,) the LLM's mean input vector, which words are taken relative to.
        pooled: (positions, patches) what each position of the LLM takes of an image's patches.
    """

    word_mean: Tensor
    pooled: Tensor

    def __init__(
        self,
        settings: ModelSettings,
        *,
        llm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        encoder: ImageEncoder,
        peft_config: PeftConfig | None = None,
        adapter_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Puts a model together from loaded parts; `build` and `from_pretrained` load them.

        Args:
            settings: what the model is made of.
            llm: a causal language model; it is frozen and gets the tuner.
            tokenizer: of the LLM; it gets the task tokens.
            encoder: a frozen image encoder.
            peft_config: the tuner, untrained; left out, the one that `settings.tuner` names.
            adapter_folder: load the tuner from this folder instead (peft's format).
        """
        super().__init__()
        self.settings = settings
        llm.requires_grad_(False)
        hidden_size = llm.get_input_embeddings().weight.shape[1]
        vocabulary = vocabulary_vectors(llm)
        rms = float(vocabulary.pow(2).mean().sqrt())
        self.register_buffer("word_mean", vocabulary.mean(0), persistent=False)
        self.register_buffer("pooled", pooled_patches(encoder.grid, settings.pooling), persistent=False)
        self.encoder = encoder
        state = StateShape(settings.state.words, hidden_size, settings.state.size)
        self.decoders = nn.ModuleDict(
            {name: build_decoder(name, state, encoder, options) for name, options in settings.decoders.items()}
        )
        names = list(self.decoders_by_token)
        self.task_tokens = TaskTokens(add_task_tokens(tokenizer, names), llm)
        self.format = PromptFormat(tokenizer, settings.template, names)
        self.projector = Projector(
            encoder.token_size, settings.projector_size, encoder.grid[0] * encoder.grid[1], hidden_size, rms
        )
        self.naming = _naming(settings.names, encoder, tokenizer) if settings.names.slots else None
        n_layers = llm.config.get_text_config().num_hidden_layers
        sources = [(position, _layer(layer, n_layers)) for position, layer in settings.state.sources]
        self.bridges = nn.ModuleDict({name: Bridge(sources, self.word_mean, state) for name in settings.decoders})
        if adapter_folder is not None:
            self.llm: PeftModel = _load_adapter(llm, adapter_folder)
        else:
            tuner = settings.tuner
            config = peft_config or tuner_config(tuner.method, **tuner.settings.get(tuner.method, {}))
            self.llm = get_peft_model(llm, config)
        config = self.llm.active_peft_config
        if config.is_prompt_learning and config.peft_type != PeftType.PREFIX_TUNING:
            raise InputError(
                f"The tuner {settings.tuner.method!r} adds virtual tokens to the input, which a multimodal sequence "
                "doesn't support; choose neural_tuning, lora, prefix_tuning or ia3 as model.tuner.method."
            )
        self._tuner_names = frozenset(n for n, p in self.llm.named_parameters() if p.requires_grad)
        self.eval()

    @classmethod
    def build(cls, settings: ModelSettings, seed: int = 0) -> MultitaskModel:
        """Loads the frozen parts that `settings` names and makes the trainable ones anew.

        Raises:
            InputError: a part can't be loaded, or a setting doesn't fit.
        """
        dtype = resolve_dtype(settings.dtype)
        encoder = load_encoder(settings.encoder)
        llm, tokenizer = load_llm(settings.llm, dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(settings, llm=llm, tokenizer=tokenizer, encoder=encoder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> MultitaskModel:
        """Loads a model that `save_pretrained` wrote, with the frozen parts that it names.

        Raises:
            InputError: the folder is no saved model, or a file in it is missing or doesn't fit.
        """
        from neuraltuning.model_folder import load_model

        return load_model(cls, folder)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Writes everything but the frozen parts into one folder: adapter/, heads.safetensors, config.json, tokenizer/.

        Raises:
            RunError: the folder could not be written; what stood there before is untouched.
        """
        from neuraltuning.model_folder import save_model

        return save_model(self, folder)

    def train(self, mode: bool = True) -> MultitaskModel:
        """Training mode for the trainable parts alone; the frozen LLM keeps its dropout still (SPEC 2)."""
        super().train(mode)
        self.llm.eval()
        for module in self.llm.modules():
            if mode and isinstance(module, BaseTunerLayer):
                module.training = True
                for name in (*module.adapter_layer_names, *module.other_param_names):
                    part = getattr(module, name, None)
                    if isinstance(part, nn.Module):
                        part.train()
        return self

    @property
    def device(self) -> torch.device:
        """Where the trainable parts are."""
        return self.task_tokens.input_rows.device

    @property
    def image_length(self) -> int:
        """Positions that an image takes in the LLM: its patches, those that share one counted once, and its names."""
        return len(self.pooled) + self.settings.names.slots

    @property
    def language_model(self) -> PreTrainedModel:
        """The causal language model inside peft's wrapper."""
        return self.llm.get_base_model()

    def decoder(self, name: str) -> Decoder:
        """The decoder called `name`."""
        decoder = self.decoders[name]
        assert isinstance(decoder, Decoder)
        return decoder

    def bridge(self, name: str) -> Bridge:
        """The bridge to the decoder called `name`."""
        bridge = self.bridges[name]
        assert isinstance(bridge, Bridge)
        return bridge

    @property
    def decoders_by_token(self) -> dict[str, tuple[str, Decoder]]:
        """Task token -> its decoder's name and the decoder, in the order of the task tokens' rows."""
        return {self.decoder(name).token: (name, self.decoder(name)) for name in self.decoders}

    def decoder_of(self, token: str) -> tuple[str, Decoder]:
        """The name and decoder of a task token."""
        return self.decoders_by_token[token]

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that may be trained, by part: "tuner.", "projector.", "decoders.mask.", ..."""
        parameters = {f"tuner.{n}": p for n, p in self.llm.named_parameters() if n in self._tuner_names}
        for part, module in self._parts():
            parameters |= {f"{part}.{n}": p for n, p in module.named_parameters()}
        return parameters

    def heads(self) -> dict[str, Tensor]:
        """Every tensor outside the frozen parts and the tuner, fitted buffers among them, by name."""
        return {f"{part}.{k}": v for part, module in self._parts() for k, v in module.state_dict().items()}

    def _parts(self) -> list[tuple[str, nn.Module]]:
        """The parts beside the tuner that this model has, by name."""
        return [(part, module) for part in PARTS if (module := getattr(self, part)) is not None]

    def trained_state(self) -> dict[str, Tensor]:
        """Copies of all that training changes, the tuner's parameters under "tuner."; for checkpoints."""
        tuner = {k: v for k, v in self.trainable_parameters().items() if k.startswith("tuner.")}
        return {k: v.detach().clone().contiguous().cpu() for k, v in {**self.heads(), **tuner}.items()}

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Copies what `trained_state` gave back into the model."""
        own = {**self.heads(), **self.trainable_parameters()}
        for name, tensor in state.items():
            own[name].copy_(tensor)

    # --- one pass -----------------------------------------------------------------------------------------------------

    def see(self, pixel_values: Tensor, *, embedding: bool = False) -> tuple[ImageFeatures, Tensor]:
        """Images as the LLM gets them.

        Args:
            pixel_values: (I, 3, S, S).
            embedding: whether their features need the images' embeddings.

        Returns:
            Their features, and their tokens in the LLM's input space, (I, `image_length`, D) float32.
        """
        return self.describe(self.encoder(pixel_values.to(self.device), embedding=embedding))

    def describe(self, features: ImageFeatures) -> tuple[ImageFeatures, Tensor]:
        """What `see` gives, from what the encoder gave for the images."""
        projected, detail = self.projector.split(features.tokens)
        seen = self.pooled @ projected
        if self.naming is None:
            return self._worded(features, projected, None), seen
        read = self.naming.read(features.tokens)
        ids, shares = self.naming.describe(features.tokens, *read)
        named = self.language_model.get_input_embeddings()(ids).float() + shares @ detail
        return self._worded(features, projected, read), torch.cat([seen, named], dim=1)

    @torch.no_grad()
    def look(self, pixel_values: Tensor, *, embedding: bool = False) -> ImageFeatures:
        """Images as the decoders get them: the features of `see`, without the tokens for the LLM."""
        features = self.encoder(pixel_values.to(self.device), embedding=embedding)
        read = None if self.naming is None else self.naming.read(features.tokens)
        return self._worded(features, self.projector(features.tokens), read)

    def _worded(
        self, features: ImageFeatures, projected: Tensor, read: tuple[Tensor, Tensor, Tensor] | None
    ) -> ImageFeatures:
        """Features with the words, and the boxes, of projected tokens and what the naming read."""
        words = projected.detach() - self.word_mean
        if self.naming is None or read is None:
            return replace(features, words=words)
        classes, attributes, boxes = read
        embedding = self.language_model.get_input_embeddings()
        # the classifiers are surer of what they know, the projector alone speaks of other classes
        words = F.normalize(words, dim=-1)
        for probabilities, classifier in ((classes, self.naming.classes), (attributes, self.naming.attributes)):
            known = F.normalize(classifier.mean_pieces(embedding) - self.word_mean, dim=-1)
            known[NOTHING] = 0.0
            words = words + probabilities @ known
        return replace(features, words=words, boxes=boxes)

    def hidden_states(self, embeds: Tensor, **arguments: Any) -> Any:
        """Runs the LLM's decoder layers, without its head, on input vectors (B, T, D) float32.

        Returns:
            transformers' output with `hidden_states`: L + 1 tensors (B, T, D), the last one after the final norm.
        """
        decoder = self.language_model.get_decoder()
        dtype = self.language_model.dtype
        with torch.autocast(embeds.device.type, dtype, enabled=dtype != torch.float32):
            arguments = with_prefix(self.llm, arguments)
            return decoder(inputs_embeds=embeds.to(dtype), output_hidden_states=True, **arguments)

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) states after the final norm -> (N, vocabulary) float32 logits, task tokens included."""
        logits = self.task_tokens.logits(self.language_model.get_output_embeddings(), hidden)
        cap = getattr(self.language_model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def embed(self, input_ids: Tensor, image_tokens: Tensor | None = None, image_order: Tensor | None = None) -> Tensor:
        """Input vectors (R, T, D) of (R, T) ids, the `IMAGE_PLACE` ones filled with image_tokens[image_order]."""
        is_image = input_ids == IMAGE_PLACE
        embedding = self.language_model.get_input_embeddings()
        embeds = self.task_tokens.embed(embedding, input_ids.masked_fill(is_image, self.format.pad_id))
        if image_tokens is not None and image_order is not None and len(image_order):
            embeds = embeds.masked_scatter(is_image.unsqueeze(-1), image_tokens[image_order].to(embeds.dtype))
        return embeds

    def run(self, embeds: Tensor, batch: Batch) -> Any:
        """Runs the LLM's decoder layers on a packed batch's input vectors; see `hidden_states`."""
        mask = self.masks(batch.attention_mask)
        return self.hidden_states(embeds, attention_mask=mask, position_ids=batch.position_ids, use_cache=False)

    def masks(self, allowed: Callable[[int | None], Tensor]) -> Tensor | dict[str, Tensor]:
        """The attention masks that the LLM's layers take, additive, from which positions may attend to which.

        Args:
            allowed: gives (B, 1, T, S) bool, for a sliding window of so many positions or without one.
        """
        config = self.language_model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return self._additive(allowed(window))
        # by transformers' names for the kinds of layers
        return {"full_attention": self._additive(allowed(None)), "sliding_attention": self._additive(allowed(window))}

    def _additive(self, allowed: Tensor) -> Tensor:
        dtype = self.language_model.dtype
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)

    def forward(self, batch: Batch) -> Losses:
        """The losses of a packed batch and their sum (journal paper, eq. 11)."""
        batch = batch.to(self.device)
        features, projected = self.see(batch.pixel_values, embedding=self.learns_embedding(batch))
        embeds = self.embed(batch.input_ids, projected, batch.image_order)
        output = self.run(embeds, batch)
        text, parts = self.text_loss(output.last_hidden_state, batch)
        decoded, more = self.decoder_losses(embeds, output.hidden_states, features, batch)
        return Losses(text + decoded, parts | more)

    def learns_embedding(self, batch: Batch) -> bool:
        """Whether the losses of a batch need the embeddings of its images."""
        return any(self.decoder_of(token)[1].learns_embedding for token in batch.tokens)

    def decoder_losses(
        self, embeds: Tensor, hidden_states: Sequence[Tensor], features: ImageFeatures, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The decoders' losses on what is read at a batch's task tokens: their sum, and each by name."""
        total = hidden_states[0].new_zeros((), dtype=torch.float32)
        parts: dict[str, Tensor] = {}
        for token, found in batch.tokens.items():
            name, decoder = self.decoder_of(token)
            bridge = self.bridge(name)
            states = bridge(bridge.read(embeds, hidden_states, found.rows, found.starts, found.positions))
            losses = decoder.loss(states, features, found.owners, found.targets)
            total = total + sum(losses.values())
            parts |= {key: value.detach() for key, value in losses.items()}
        return total, parts

    def text_loss(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy on the replies' tokens (journal paper, eq. 6), their mean over the batch and by task."""
        learnt = batch.labels != NO_LABEL
        logits = self.logits(hidden[learnt])
        each = F.cross_entropy(logits, batch.labels[learnt], reduction="none")
        tasks = batch.label_tasks[learnt]
        by_task = {
            f"text/{name}": each.detach()[tasks == i].mean()
            for i, name in enumerate(batch.task_names)
            if bool((tasks == i).any())
        }
        return each.mean(), {"text": each.detach().mean(), **by_task}

    # --- replies ------------------------------------------------------------------------------------------------------

    def reply(self, image: Image.Image | None, text: str, *, seed: int = 0, max_new_tokens: int | None = None) -> Reply:
        """Answers one request.

        Raises:
            InputError: the text is empty or too long, or the reply needs an image that was not given.
        """
        return self.reply_batch([Query(image, text, seed, max_new_tokens)])[0]

    @torch.no_grad()
    def reply_batch(self, queries: Sequence[Query]) -> list[Reply]:
        """Answers several requests in one pass; each answer is the one it would get alone.

        Raises:
            InputError: as `reply`; the message names the request by its place in `queries` where there are several.
        """
        if not queries:
            return []
        self._check(queries)
        distinct, row_images = _distinct([q.image for q in queries])
        features, projected = self.see(self.encoder.preprocess(distinct)) if distinct else (None, None)
        with self.evaluating():
            generated = generate(
                self,
                [self.format.prompt_ids(q.text) for q in queries],
                projected,
                row_images,
                [q.max_new_tokens or MAX_NEW_TOKENS for q in queries],
            )
            return self._decode(queries, generated, features, row_images)

    @torch.no_grad()
    def teacher_forced(self, examples: Sequence[Example]) -> list[Reply]:
        """What the decoders make of the task tokens of the *true* replies.

        This is what the papers' released code scores; a reply that the model would not have written counts as written.
        """
        if not examples:
            return []
        with self.evaluating():
            of_one_image = [list(group) for _, group in groupby(examples, lambda e: id(e.image))]
            row_length = self.image_length + FORCED_ROW_LENGTH
            length = Packer(self, row_length).length
            longest = max(sum(map(length, group)) for group in of_one_image)
            batch = Packer(self, max(row_length, longest))(of_one_image).to(self.device)
            features, projected = self.see(batch.pixel_values)
            embeds = self.embed(batch.input_ids, projected, batch.image_order)
            hidden_states = self.run(embeds, batch).hidden_states
            results: list[dict[str, list[Any]]] = [{} for _ in examples]
            for token, found in batch.tokens.items():
                name, decoder = self.decoder_of(token)
                bridge = self.bridge(name)
                states = bridge(bridge.read(embeds, hidden_states, found.rows, found.starts, found.positions))
                whose = found.examples.tolist()
                images = [examples[i].image for i in whose]
                seen = all(image is not None for image in images)
                values = decoder.decode(
                    states,
                    features if seen else None,
                    found.owners if seen else None,
                    [_size(image) for image in images] if seen else [],
                    [0] * len(whose),
                    found.examples,
                )
                for i, value in zip(whose, values, strict=True):
                    results[i].setdefault(token, []).append(value)
        return [
            assemble_reply(e.reply, found, None if e.image is None else _size(e.image))
            for e, found in zip(examples, results, strict=True)
        ]

    def _check(self, queries: Sequence[Query]) -> None:
        limit = self.language_model.config.get_text_config().max_position_embeddings
        for number, query in enumerate(queries):
            where = f"Request {number + 1}: t" if len(queries) > 1 else "T"
            if not query.text.strip():
                raise InputError(f"{where}he text is empty; say what to do, for example: Please segment the cat.")
            room = limit - self.image_length - (query.max_new_tokens or MAX_NEW_TOKENS) - 2
            # a token is rarely longer than 40 characters: don't tokenise megabytes only to refuse them
            if len(query.text) > 40 * room or len(self.format.prompt_ids(query.text)) > room:
                raise InputError(
                    f"{where}he text of {len(query.text):,} characters is too long for the model, which has room for "
                    f"{room:,} tokens beside the image and the reply; shorten it."
                )

    def _decode(
        self,
        queries: Sequence[Query],
        generated: Generated,
        features: ImageFeatures | None,
        row_images: Tensor,
    ) -> list[Reply]:
        results: list[dict[str, list[Any]]] = [{} for _ in queries]
        for name, found in generated.tokens.items():
            decoder = self.decoder(name)
            groups = [(True, [r for r in found.rows if row_images[r] >= 0])]
            groups += [(False, [r for r in found.rows if row_images[r] < 0])]
            states = self.bridge(name)(found.readings)
            for has_image, rows in groups:
                if not rows:
                    continue
                chosen = [i for i, r in enumerate(found.rows) if (row_images[r] >= 0) == has_image]
                values = decoder.decode(
                    states[chosen],
                    features if has_image else None,
                    row_images[rows] if has_image else None,
                    [_size(queries[r].image) for r in rows] if has_image else [],
                    [queries[r].seed for r in rows],
                    torch.tensor(rows, device=states.device),
                )
                for row, value in zip(rows, values, strict=True):
                    results[row].setdefault(decoder.token, []).append(value)
        return [
            assemble_reply(self.format.text(ids), found, None if q.image is None else _size(q.image))
            for q, ids, found in zip(queries, generated.ids, results, strict=True)
        ]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside the block; afterwards the mode of before."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)


def _load_adapter(llm: PreTrainedModel, folder: str | os.PathLike[str]) -> PeftModel:
    """The LLM with the tuner that peft saved in `folder`.

    Raises:
        InputError: the two don't belong together.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        # peft refuses to train a loaded prefix
        model = PeftModel.from_pretrained(llm, folder, config=config, is_trainable=not config.is_prompt_learning)
        if config.is_prompt_learning:
            model.prompt_encoder.requires_grad_(True)
        return model
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"The adapter in {folder} doesn't fit the language model {llm.name_or_path}: {reason[:300]}"
        ) from error


def _naming(settings: NameSettings, encoder: ImageEncoder, tokenizer: PreTrainedTokenizerBase) -> Naming:
    """A naming that knows no name yet."""

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return found

    return Naming(encoder.token_size, encoder.grid, settings.vocabulary, settings.slots, Wording.spelt(ids))


def _layer(layer: int, n_layers: int) -> int:
    """A layer's index in `hidden_states`, negative ones counted from the end."""
    index = layer + n_layers + 1 if layer < 0 else layer
    if not 0 <= index <= n_layers:
        raise InputError(f"model.state.sources names layer {layer}, but the LLM has layers 0 to {n_layers}.")
    return index


def _distinct(images: Sequence[Image.Image | None]) -> tuple[list[Image.Image], Tensor]:
    """The distinct images, and for each of `images` its place among them (-1: none)."""
    distinct = {id(image): image for image in images if image is not None}
    places = {key: place for place, key in enumerate(distinct)}
    return list(distinct.values()), torch.tensor([-1 if i is None else places[id(i)] for i in images])


def _size(image: Image.Image | None) -> tuple[int, int]:
    assert image is not None
    return image.height, image.width
