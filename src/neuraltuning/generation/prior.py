"""The image prior: an autoregressive transformer from an image embedding to the codes of an image tokenizer.

A picture's grid of codes is read in blocks of 2x2: the transformer (transformers' Llama) makes one step a block, and a
small head predicts the block's four codes one after the other (the RQ-Transformer's division of labour; Lee et al.,
2022). That makes 64 steps of 256 codes, a quarter of the cost. `pretrain_prior` makes the weights.

The condition is the embedding in whitened principal components. In training it is replaced by draws from the
distribution that a least-squares prediction of it would have (`shrunken`), so that predicted embeddings, which are
shrunken means, look familiar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.generation.parts import load_part, save_part

WEIGHTS = Path(__file__).parent / "weights" / "image_prior.safetensors"
_BLOCK = 4
_INIT = 0.25  # of embeddings, so that codes and condition start out equally loud


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of an image prior.

    Attributes:
        encoder: name of the frozen encoder whose embeddings condition it.
        embedding_size: E, of that encoder.
        components: principal components of the embedding that are kept.
        codes: size of the tokenizer's codebook.
        grid: rows (and columns) of codes of a picture.
        hidden_size, layers, heads, intermediate_size: of the transformer.
        prefix: tokens that the condition becomes.
        layout: numbers that the condition gives each step of its own, so that colours and places need no attention.
    """

    encoder: str
    embedding_size: int
    components: int = 192
    codes: int = 512
    grid: int = 16
    hidden_size: int = 256
    layers: int = 4
    heads: int = 4
    intermediate_size: int = 512
    prefix: int = 2
    layout: int = 32


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn; the defaults did best of a few on validation (docs/image-generation.md).

    Attributes:
        temperature: of the codes' distribution; lower is safer and plainer.
        top_k: only the k most probable codes are drawn.
        guidance: weight of classifier-free guidance (Ho and Salimans, 2022): 1 is none, and more doubles the cost.
    """

    temperature: float = 0.7
    top_k: int = 100
    guidance: float = 3.0


class ImagePrior(nn.Module):
    """Models p(codes | embedding)."""

    component_mean: Tensor
    component_basis: Tensor
    component_std: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaModel

        self.config = config
        size = config.hidden_size
        self.steps = (config.grid // 2) ** 2
        self.register_buffer("component_mean", torch.zeros(config.embedding_size))
        self.register_buffer("component_basis", torch.zeros(config.embedding_size, config.components))
        self.register_buffer("component_std", torch.ones(config.components))
        self.condition = nn.Linear(config.components, config.prefix * size)
        self.layout = nn.Linear(config.components, self.steps * config.layout)
        self.from_layout = nn.Linear(config.layout, size, bias=False)
        self.unconditional = nn.Parameter(torch.zeros(config.prefix * size))
        self.position = nn.Parameter(_INIT * torch.randn(self.steps, size))
        self.code_embedding = nn.Parameter(_INIT * torch.randn(_BLOCK, config.codes, size))
        self.transformer = LlamaModel(
            LlamaConfig(
                vocab_size=1,
                hidden_size=size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=config.prefix + self.steps,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.head = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Linear(size, size), nn.LayerNorm(size)
        )
        self.slot = nn.Parameter(_INIT * torch.randn(_BLOCK, size))
        self.logits = nn.Linear(size, config.codes)

    def components(self, embedding: Tensor) -> Tensor:
        """(B, E) embeddings -> (B, components), principal components of mean square 1 over Scenes."""
        return (embedding - self.component_mean) @ self.component_basis / self.component_std

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the components, the same for priors that read the same ones."""
        parts = (self.component_mean, self.component_basis, self.component_std)
        return sha256(b"".join(part.cpu().float().numpy().tobytes() for part in parts)).hexdigest()[:12]

    def loss(self, codes: Tensor, components: Tensor, keep: Tensor) -> Tensor:
        """Mean cross-entropy of the codes in nats.

        Args:
            codes: (B, grid, grid) long.
            components: (B, components) condition.
            keep: (B,) bool, False where the condition is left out (for classifier-free guidance).
        """
        blocks = self._blocks(codes)
        embedded = self._embed(blocks)
        prefix, layout = self._condition(components, keep)
        inputs = torch.cat([prefix, embedded[:, :-1].sum(2) + layout[:, 1:]], dim=1)
        states = self.transformer(inputs_embeds=inputs, use_cache=False).last_hidden_state
        states = states[:, self.config.prefix - 1 :]
        earlier = F.pad(embedded.cumsum(2)[:, :, :-1], (0, 0, 1, 0))
        logits = self._head(states.unsqueeze(2) + self.slot + earlier)
        return F.cross_entropy(logits.flatten(0, 2), blocks.flatten())

    @torch.no_grad()
    def sample(self, components: Tensor, seeds: Sequence[int], sampling: Sampling | None = None) -> Tensor:
        """Draws codes for (B, components) conditions.

        Args:
            seeds: one an item; an item's codes depend on its condition and seed alone, up to rounding.

        Returns:
            (B, grid, grid) long.
        """
        from transformers import DynamicCache

        sampling = sampling or Sampling()
        count, guided = len(components), sampling.guidance != 1.0
        noise = torch.stack([torch.rand(self.steps, _BLOCK, generator=_generator(s)) for s in seeds])
        noise = noise.to(components.device)
        keep = torch.ones(count, dtype=torch.bool, device=components.device)
        if guided:
            components, keep = torch.cat([components, components]), torch.cat([keep, ~keep])
        inputs, layout = self._condition(components, keep)
        cache = DynamicCache()
        blocks = torch.zeros(count, self.steps, _BLOCK, dtype=torch.long, device=components.device)
        for step in range(self.steps):
            output = self.transformer(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
            state = output.last_hidden_state[:, -1]
            for slot in range(_BLOCK):
                logits = self._head(state + self.slot[slot])
                if guided:
                    with_condition, without = logits.chunk(2)
                    logits = without + sampling.guidance * (with_condition - without)
                code = _draw(logits, noise[:, step, slot], sampling)
                blocks[:, step, slot] = code
                embedded = self.code_embedding[slot, code]
                state = state + (torch.cat([embedded, embedded]) if guided else embedded)
            if step + 1 < self.steps:
                drawn = self._embed(blocks[:, step]).sum(1)
                inputs = (torch.cat([drawn, drawn]) if guided else drawn).unsqueeze(1) + layout[:, step + 1 : step + 2]
        return self._unblocks(blocks)

    def save(self, path: Path, **facts: object) -> None:
        """Writes half-precision weights to `path` and the configuration with `facts` to the JSON beside it."""
        save_part(self, asdict(self.config), path, facts)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> ImagePrior:
        """Reads what `save` wrote, frozen; the shipped prior by default.

        Raises:
            InputError: the files are missing, damaged or of another shape.
        """
        return load_part(path, lambda config: cls(PriorConfig(**config)))

    def _condition(self, components: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(B, components) -> prefix (B, prefix, hidden_size) and what is added to each step (B, steps, hidden_size).

        The first step's input is the prefix' last token.
        """
        prefix = torch.where(keep[:, None], self.condition(components), self.unconditional)
        prefix = prefix.unflatten(1, (self.config.prefix, self.config.hidden_size))
        local = self.from_layout(self.layout(components).unflatten(1, (self.steps, self.config.layout)))
        layout = self.position + local * keep[:, None, None]
        return torch.cat([prefix[:, :-1], prefix[:, -1:] + layout[:, :1]], dim=1), layout

    def _embed(self, blocks: Tensor) -> Tensor:
        """(..., 4) codes -> (..., 4, hidden_size)."""
        return torch.stack([F.embedding(blocks[..., i], self.code_embedding[i]) for i in range(_BLOCK)], dim=-2)

    def _head(self, states: Tensor) -> Tensor:
        return self.logits(self.head(states))

    def _blocks(self, codes: Tensor) -> Tensor:
        """(B, grid, grid) -> (B, steps, 4): 2x2 blocks in reading order, in each the codes in reading order."""
        return codes.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3).flatten(1, 2)

    def _unblocks(self, blocks: Tensor) -> Tensor:
        half = self.config.grid // 2
        return blocks.view(-1, half, half, 2, 2).transpose(2, 3).reshape(-1, self.config.grid, self.config.grid)


def shrunken(components: Tensor) -> Tensor:
    """Draws what a least-squares predictor of a random quality would give for whitened `components` (B, K).

    If a predictor explains the share rho of a component's variance, its prediction is Gaussian around rho times the
    component with variance rho (1 - rho). rho differs by item and component, and falls with the component's rank as a
    regression from captions' words showed (0.6 for the first ones, 0.1 for the last); every fourth item stays exact.
    """
    rank = torch.arange(components.shape[1])
    quality = 0.9 - 0.43 * torch.log2(1.0 + rank) + 1.5 * torch.randn(len(components), 1) + torch.randn_like(components)
    rho = torch.sigmoid(quality)
    rho[::4] = 1.0
    return rho * components + (rho * (1 - rho)).sqrt() * torch.randn_like(components)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Inverts the cumulative distribution of the top k codes at `noise` (B,) in 0..1; (B,) long."""
    values, order = logits.float().topk(min(sampling.top_k, logits.shape[-1]), dim=-1)
    cumulative = (values / sampling.temperature).softmax(-1).cumsum(-1)
    index = (cumulative < noise.unsqueeze(1) * cumulative[:, -1:]).sum(-1, keepdim=True)
    return order.gather(1, index.clamp_max(order.shape[1] - 1)).squeeze(1)
