"""Pretrains the image tokenizer on Scenes' training pictures.

    python -m neuraltuning.generation.pretrain_tokenizer --out runs/generation

writes `OUT/image_tokenizer.safetensors` with its configuration, recipe and validation scores in the JSON beside it.
Interrupted, the same command goes on from its last checkpoint. Copy both files to `generation/weights/` to ship them.

Loss: absolute error + feature distance in the frozen encoder's maps + codebook and commitment (Esser et al., 2021,
eq. 4 and 5). Their patch discriminator was tried and left out: in runs as short as these it covers objects with specks.
After the joint steps encoder and codebook are fixed and the decoder alone goes on, so that a prior can be trained on
the codes meanwhile. Two things keep all codes in use: the codebook starts as a sample of latents after some steps
without quantisation, and codes that went unused are put on random latents again.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.device import best_device
from neuraltuning.encoders.efficientnet import PIXEL_MEAN, PIXEL_STD, EfficientNetLite0, find_weights
from neuraltuning.generation.progress import Progress, load_checkpoint, save_checkpoint
from neuraltuning.generation.scene_features import scene_features
from neuraltuning.generation.tokenizer import ImageTokenizer, TokenizerConfig, to_network

LEARNING_RATE = 4e-3
DECODER_LEARNING_RATE = 5e-4
FEATURE_WEIGHT = 0.3
WARMUP_STEPS = 50
UNQUANTIZED_STEPS = 150
RESTART_EVERY = 50
CHECKPOINT_EVERY = 100
VALIDATION_SCENES = 500


def feature_distance(encoder: EfficientNetLite0, drawn: Tensor, target: Tensor) -> Tensor:
    """Squared distance of channel-normed feature maps (LPIPS without its learnt weights; Zhang et al., 2018).

    Args:
        drawn, target: (B, 3, S, S) in -1..1; the encoder sees them at their own size, which keeps it cheap.
    """
    mean, std = (torch.tensor(v, device=drawn.device).view(1, 3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    maps, _ = encoder.feature_maps(((drawn + 1) / 2 - mean) / std)
    with torch.no_grad():
        targets, _ = encoder.feature_maps(((target + 1) / 2 - mean) / std)
    distances = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean()
        for a, b in zip(maps[:3], targets[:3], strict=True)
    ]
    return torch.stack(distances).mean()


@torch.no_grad()
def restart_unused(tokenizer: ImageTokenizer, used: Tensor, latents: Tensor) -> int:
    """Puts the codes that were not `used` (codes,) on random rows of `latents` (N, code_size); returns their number."""
    unused = (~used).nonzero().flatten()
    rows = torch.randint(len(latents), (len(unused),)).to(latents.device)
    tokenizer.codebook[unused] = latents[rows]
    return len(unused)


@torch.no_grad()
def scores(tokenizer: ImageTokenizer, pixels: Tensor, encoder: EfficientNetLite0) -> dict[str, float]:
    """Reconstruction PSNR (dB), feature distance, and the share and perplexity of the codes in use, on (B, S, S, 3)."""
    device = tokenizer.codebook.device
    errors, distances, counts = [], [], torch.zeros(tokenizer.config.codes, device=device)
    for batch in pixels.split(50):
        target = to_network(batch.to(device))
        codes = tokenizer.encode(target)
        drawn = tokenizer.decode(codes).clamp(-1, 1)
        errors.append(((drawn - target) / 2).square().mean((1, 2, 3)))
        distances.append(feature_distance(encoder, drawn, target))
        counts += torch.bincount(codes.flatten(), minlength=len(counts))
    share = counts / counts.sum()
    return {
        "psnr": float(-10 * torch.cat(errors).log10().mean()),
        "feature_distance": float(torch.stack(distances).mean()),
        "codes_used": float((counts > 0).float().mean()),
        "code_perplexity": float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum())),
    }


def pretrain(out: Path, *, steps: int, decoder_steps: int, batch: int, scenes: int, seed: int) -> dict[str, float]:
    """Trains, writes the tokenizer to `out` and returns its validation scores."""
    torch.manual_seed(seed)
    device = best_device()
    encoder = EfficientNetLite0(find_weights()).to(device)
    tokenizer = ImageTokenizer(TokenizerConfig()).to(device)
    size = tokenizer.config.image_size
    folder = out / "scenes"
    held_out, _ = scene_features(
        encoder, split="validation", count=VALIDATION_SCENES, seed=seed, size=size, folder=folder
    )
    pixels, _ = scene_features(encoder, split="train", count=scenes, seed=seed, size=size, folder=folder)

    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=1e-4)
    resumed: dict[str, Any] = {"tokenizer": tokenizer, "optimizer": optimizer}
    checkpoint = out / "image_tokenizer.checkpoint.pt"
    first, used = 0, torch.zeros(tokenizer.config.codes, dtype=torch.bool, device=device)
    if state := load_checkpoint(checkpoint):
        first, used = state["step"], state["used"].to(device)
        for name, part in resumed.items():
            part.load_state_dict(state[name])

    total = steps + decoder_steps
    progress = Progress("tokenizer", total, first)
    for step in range(first, total):
        joint = step < steps
        if joint:
            rate = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * _cosine(step / steps)
        else:
            rate = DECODER_LEARNING_RATE * _cosine((step - steps) / decoder_steps)
            for part in (tokenizer.network.encoder, tokenizer.network.quant_conv, tokenizer.network.quantize):
                part.requires_grad_(False)
        for group in optimizer.param_groups:
            group["lr"] = rate
        picked = pixels[torch.randint(len(pixels), (batch,))]
        if torch.rand(()) < 0.5:
            picked = picked.flip(2)  # a mirrored scene is a scene
        target = to_network(picked.to(device))
        latents = tokenizer.latents(target)
        rows = latents.detach().permute(0, 2, 3, 1).flatten(0, 2)
        if step == UNQUANTIZED_STEPS:
            used.zero_()
            restart_unused(tokenizer, used, rows)
        if step < UNQUANTIZED_STEPS:
            quantized, vq_loss = latents, latents.new_zeros(())
        else:
            quantized, vq_loss, codes = tokenizer.quantize(latents)
            used[codes.unique()] = True
            if step % RESTART_EVERY == RESTART_EVERY - 1:
                if step < 0.8 * steps:
                    restart_unused(tokenizer, used, rows)
                used.zero_()
        drawn = tokenizer.draw(quantized)
        pixel_loss = (drawn - target).abs().mean()
        feature_loss = feature_distance(encoder, drawn, target)
        loss = pixel_loss + FEATURE_WEIGHT * feature_loss + vq_loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == total:
            values = {
                "pixel": float(pixel_loss.detach()),
                "feature": float(feature_loss.detach()),
                "vq": float(vq_loss.detach()),
            }
            progress.show(step + 1, **values, **scores(tokenizer, held_out[:100], encoder))
            states = {name: part.state_dict() for name, part in resumed.items()}
            save_checkpoint(checkpoint, step=step + 1, used=used, **states)

    result = scores(tokenizer.eval(), held_out, encoder)
    recipe = {
        "steps": steps,
        "decoder_steps": decoder_steps,
        "batch": batch,
        "scenes": scenes,
        "seed": seed,
        "data": "scenes/train",
    }
    tokenizer.save(out / "image_tokenizer.safetensors", recipe=recipe, validation=result)
    return result


def _cosine(share: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and prepared scenes")
    parser.add_argument("--steps", type=int, default=2200, help="joint optimiser steps")
    parser.add_argument("--decoder-steps", type=int, default=900, help="further steps of the decoder alone")
    parser.add_argument("--batch", type=int, default=6, help="pictures a step")
    parser.add_argument("--scenes", type=int, default=8000, help="training scenes, a multiple of 250")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes and of the training")
    arguments = parser.parse_args()
    result = pretrain(**vars(arguments))
    print("  ".join(f"{name} {value:.4g}" for name, value in result.items()))


if __name__ == "__main__":
    main()
