"""The image tokenizer: a VQGAN (Esser et al., 2021) on `diffusers.VQModel`, pictures to code indices and back.

Knows nothing of encoders, priors and training; `pretrain_tokenizer` makes the weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.generation.parts import load_part, save_part

WEIGHTS = Path(__file__).parent / "weights" / "image_tokenizer.safetensors"


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of an image tokenizer.

    Attributes:
        image_size: side of a picture in pixels.
        patch: side of the pixel blocks that are stacked into channels first, which divides the network's
            resolution by it and its cost by its square.
        channels: width of the network at each resolution; each but the last halves the resolution.
        code_size: length of a codebook vector.
        codes: number of codebook vectors.
    """

    image_size: int = 64
    patch: int = 4
    channels: tuple[int, ...] = (64,)
    code_size: int = 8
    codes: int = 512

    @property
    def grid(self) -> int:
        """Rows (and columns) of codes of one picture."""
        return self.image_size // self.patch // 2 ** (len(self.channels) - 1)


class ImageTokenizer(nn.Module):
    """Encodes pictures as a grid of codebook indices and draws them from it."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        from diffusers import VQModel

        self.config = config
        levels = len(config.channels)
        self.network = VQModel(
            in_channels=3 * config.patch**2,
            out_channels=3 * config.patch**2,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.channels,
            layers_per_block=1,
            latent_channels=config.code_size,
            vq_embed_dim=config.code_size,
            num_vq_embeddings=config.codes,
            norm_num_groups=8,
            mid_block_add_attention=False,
        )
        # diffusers weighs the commitment by 1 and the codebook by beta unless told that the bug is to be fixed.
        self.network.quantize.legacy = False

    @property
    def codebook(self) -> Tensor:
        """(codes, code_size)."""
        return self.network.quantize.embedding.weight

    def latents(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> (B, code_size, grid, grid), before quantisation."""
        return self.network.encode(F.pixel_unshuffle(pixels, self.config.patch)).latents

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents -> the nearest codebook vectors (gradients go straight through), VQ loss, indices (B, grid, grid)."""
        quantized, loss, (_, _, indices) = self.network.quantize(latents)
        return quantized, loss, indices.view(len(latents), self.config.grid, self.config.grid)

    def draw(self, quantized: Tensor) -> Tensor:
        """(B, code_size, grid, grid) -> pixels (B, 3, S, S), about -1..1."""
        return F.pixel_shuffle(self.network.decoder(self.network.post_quant_conv(quantized)), self.config.patch)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> code indices (B, grid, grid), long."""
        return self.quantize(self.latents(pixels))[2]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Code indices (B, grid, grid) -> pixels (B, 3, S, S), about -1..1."""
        return self.draw(self.codebook[codes].permute(0, 3, 1, 2))

    def save(self, path: Path, **facts: object) -> None:
        """Writes half-precision weights to `path` and the configuration with `facts` to the JSON beside it."""
        save_part(self, asdict(self.config), path, facts)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> ImageTokenizer:
        """Reads what `save` wrote, frozen; the shipped tokenizer by default.

        Raises:
            InputError: the files are missing, damaged or of another shape.
        """
        return load_part(path, lambda config: cls(TokenizerConfig(**{**config, "channels": tuple(config["channels"])})))


def to_network(pixels: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in -1..1."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_images(pixels: Tensor) -> list[Image.Image]:
    """(B, 3, S, S) about -1..1 -> RGB pictures."""
    array = pixels.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(a) for a in array]
