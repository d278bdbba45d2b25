"""Pretrains the image prior on the embeddings and codes of Scenes' training pictures.

    python -m neuraltuning.generation.pretrain_prior --out runs/generation

needs the tokenizer in OUT (`pretrain_tokenizer`) and writes `OUT/image_prior.safetensors` with its configuration,
recipe and validation scores in the JSON beside it. Interrupted, the same command goes on from its last checkpoint.
Copy both files to `generation/weights/` to ship them. No text is involved: the prior learns from images alone. In the
end it is made to read the shipped prior's components, where that is for the same encoder: models write them.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuraltuning.device import best_device
from neuraltuning.encoders import ImageEncoder, load_encoder
from neuraltuning.generation.prior import ImagePrior, PriorConfig, shrunken
from neuraltuning.generation.progress import Progress, load_checkpoint, save_checkpoint
from neuraltuning.generation.scene_features import scene_features
from neuraltuning.generation.tokenizer import ImageTokenizer, to_images, to_network
from neuraltuning.precision import resolve_dtype

LEARNING_RATE = 2e-3
WARMUP_STEPS = 50
UNCONDITIONAL_SHARE = 0.1
CHECKPOINT_EVERY = 100
VALIDATION_SCENES = 500
SCORED_SCENES = 160
AMONG = 16


def fit_components(prior: ImagePrior, embeddings: Tensor) -> float:
    """Sets the prior's principal components from embeddings (N, E); returns the share of variance they keep."""
    values = embeddings.double()
    mean = values.mean(0)
    variances, basis = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))
    kept = prior.config.components
    prior.component_mean.copy_(mean)
    prior.component_basis.copy_(basis[:, -kept:].flip(1))
    prior.component_std.copy_(variances[-kept:].flip(0).sqrt())
    return float(variances[-kept:].sum() / variances.sum())


@torch.no_grad()
def take_components(prior: ImagePrior, other: ImagePrior) -> None:
    """Makes a trained prior read the components of another one for the same embeddings.

    Models' maps write a prior's components (`decoders.image.ImageDecoder`), so that a prior that is to draw for models
    that exist must read those which they were trained with. What the other's components don't span is read as its mean.
    """
    ours, theirs = (
        [x.double() for x in (p.component_mean, p.component_basis, p.component_std)] for p in (prior, other)
    )
    turn = ours[1].T @ theirs[1] * theirs[2] / ours[2][:, None]
    shift = (theirs[0] - ours[0]) @ ours[1] / ours[2]
    for layer in (prior.condition, prior.layout):
        weight = layer.weight.double()
        layer.bias.add_(weight @ shift)
        layer.weight.copy_(weight @ turn)
    prior.component_mean.copy_(other.component_mean)
    prior.component_basis.copy_(other.component_basis)
    prior.component_std.copy_(other.component_std)


def found_among(drawn: Tensor, targets: Tensor, among: int = AMONG) -> float:
    """Share of the pictures whose embedding is nearest to their own target's, among `among` consecutive targets.

    Args:
        drawn, targets: (N, E) embeddings; similarity is the cosine. Targets that don't fill a group are left out.
    """
    count = len(drawn) // among * among
    drawn, targets = (F.normalize(x[:count].float(), dim=1).view(-1, among, x.shape[1]) for x in (drawn, targets))
    best = (drawn @ targets.transpose(1, 2)).argmax(2)
    return float((best == torch.arange(among)).float().mean())


def partly_predicted(components: Tensor, rho: float, seed: int) -> Tensor:
    """What a least-squares predictor that explains the share `rho` of each component's variance would give."""
    noise = torch.randn(components.shape, generator=torch.Generator().manual_seed(seed))
    return rho * components + math.sqrt(rho * (1 - rho)) * noise


@torch.no_grad()
def drawing_scores(
    prior: ImagePrior, tokenizer: ImageTokenizer, encoder: ImageEncoder, pixels: Tensor, embeddings: Tensor
) -> dict[str, float]:
    """How often drawn pictures find their target among 16, from true and from partly predicted embeddings.

    Args:
        pixels: (B, S, S, 3) uint8 validation pictures, for the bound that the tokenizer sets.
        embeddings: (B, E) of the same scenes at full size.
    """

    device = prior.component_mean.device

    def embed(codes: Tensor) -> Tensor:
        return encoder.embed(encoder.preprocess(to_images(tokenizer.decode(codes))).to(device)).cpu()

    components = prior.components(embeddings.to(device).float()).cpu()
    seeds = list(range(len(components)))
    codes = tokenizer.encode(to_network(pixels.to(device)))
    result = {"found_reconstructed": found_among(embed(codes), embeddings)}
    for rho in (1.0, 0.5, 0.25):
        start = time.perf_counter()
        codes = prior.sample(partly_predicted(components, rho, seed=0).to(device), seeds)
        result["seconds_per_picture"] = (time.perf_counter() - start) / len(codes)
        result[f"found_explained_{rho:g}"] = found_among(embed(codes), embeddings)
    return result


def pretrain(out: Path, *, encoder_name: str, steps: int, batch: int, scenes: int, seed: int) -> dict[str, float]:
    """Trains, writes the prior to `out` and returns its validation scores."""
    torch.manual_seed(seed)
    device = best_device()
    encoder = load_encoder(encoder_name, device=device)
    tokenizer = ImageTokenizer.load(out / "image_tokenizer.safetensors").to(device)
    size, folder = tokenizer.config.image_size, out / "scenes"
    held_out, held_out_embeddings = scene_features(
        encoder, split="validation", count=VALIDATION_SCENES, seed=seed, size=size, folder=folder
    )
    pixels, embeddings = scene_features(encoder, split="train", count=scenes, seed=seed, size=size, folder=folder)
    codes = torch.cat([tokenizer.encode(to_network(p.to(device))) for p in pixels.split(100)])
    held_out_codes = torch.cat([tokenizer.encode(to_network(p.to(device))) for p in held_out.split(100)])

    config = PriorConfig(
        encoder=encoder.name,
        embedding_size=encoder.embedding_size,
        codes=tokenizer.config.codes,
        grid=tokenizer.config.grid,
    )
    prior = ImagePrior(config).to(device)
    if device.type == "cpu":  # of so few tokens the plain attention is faster than the fused one on a processor
        prior.transformer.set_attn_implementation("eager")
    variance_kept = fit_components(prior, embeddings.to(device))
    # on the CPU, where the random numbers are drawn: so a checkpoint needs one random state
    components = torch.cat([prior.components(part.to(device).float()).cpu() for part in embeddings.split(1000)])
    held_out_components = prior.components(held_out_embeddings.to(device).float())

    decayed = [p for p in prior.parameters() if p.dim() > 1]
    plain = [p for p in prior.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    dtype = resolve_dtype("auto")
    checkpoint, first = out / "image_prior.checkpoint.pt", 0
    if state := load_checkpoint(checkpoint):
        first = state["step"]
        prior.load_state_dict(state["prior"])
        optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def held_out_loss() -> float:
        everything = torch.ones(len(held_out_codes), dtype=torch.bool, device=device)
        return float(prior.loss(held_out_codes, held_out_components, everything))

    progress = Progress("prior", steps, first)
    for step in range(first, steps):
        for group in optimizer.param_groups:
            cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * max(0.02, cosine)
        picked = torch.randint(len(codes), (batch,))
        keep = torch.rand(batch) >= UNCONDITIONAL_SHARE
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = prior.loss(codes[picked.to(device)], shrunken(components[picked]).to(device), keep.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            progress.show(step + 1, loss=float(loss.detach()), held_out_loss=held_out_loss())
            save_checkpoint(checkpoint, step=step + 1, prior=prior.state_dict(), optimizer=optimizer.state_dict())

    prior.eval()
    shipped = ImagePrior.load().to(device)
    if (shipped.config.encoder, shipped.config.components) == (config.encoder, config.components):
        take_components(prior, shipped)
        held_out_components = prior.components(held_out_embeddings.to(device).float())
    result = {
        "loss": held_out_loss(),
        "variance_kept": variance_kept,
        **drawing_scores(prior, tokenizer, encoder, held_out[:SCORED_SCENES], held_out_embeddings[:SCORED_SCENES]),
    }
    recipe = {"steps": steps, "batch": batch, "scenes": scenes, "seed": seed, "data": "scenes/train"}
    prior.save(out / "image_prior.safetensors", recipe=recipe, validation=result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder with the tokenizer; weights go there too")
    parser.add_argument("--encoder", dest="encoder_name", default="efficientnet-lite0", help="gives the embeddings")
    parser.add_argument("--steps", type=int, default=10000, help="optimiser steps")
    parser.add_argument("--batch", type=int, default=32, help="pictures a step")
    parser.add_argument("--scenes", type=int, default=20000, help="training scenes, a multiple of 250")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes and of the training")
    arguments = parser.parse_args()
    result = pretrain(**vars(arguments))
    print("  ".join(f"{name} {value:.4g}" for name, value in result.items()))


if __name__ == "__main__":
    main()
