"""The image prior: the cached, blockwise sampling agrees with the training pass; conditions, seeds and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neuraltuning.generation.prior import ImagePrior, PriorConfig, Sampling, shrunken

SMALL = PriorConfig(
    encoder="none",
    embedding_size=12,
    components=6,
    codes=20,
    grid=4,
    hidden_size=32,
    layers=2,
    heads=2,
    intermediate_size=48,
    prefix=2,
    layout=3,
)


@pytest.fixture
def prior() -> ImagePrior:
    torch.manual_seed(0)
    prior = ImagePrior(SMALL).eval()
    with torch.no_grad():
        prior.component_basis.copy_(torch.linalg.qr(torch.randn(12, 6)).Q)
        for parameter in prior.parameters():  # far from a uniform distribution
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return prior


def everything(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_most_probable_codes_step_by_step_are_a_maximum_of_the_training_pass(prior: ImagePrior) -> None:
    """Changing any one code of a greedy sample to another must not make its own conditional more probable."""
    components = torch.randn(1, 6)
    codes = prior.sample(components, [0], Sampling(top_k=1, guidance=1.0))
    best = prior.loss(codes, components, everything(1))
    last = codes.clone()
    losses = []
    for code in range(SMALL.codes):  # the last code of all has no successors, so only its own conditional changes
        last[0, -1, -1] = code
        losses.append(float(prior.loss(last, components, everything(1)).detach()))
    assert min(losses) == pytest.approx(float(best.detach()), abs=1e-6)
    assert losses[int(codes[0, -1, -1])] == pytest.approx(float(best.detach()), abs=1e-6)


def test_samples_follow_the_distribution_that_the_loss_scores(prior: ImagePrior) -> None:
    components = torch.randn(1, 6).expand(400, 6)
    codes = prior.sample(components, list(range(400)), Sampling(temperature=1.0, top_k=SMALL.codes, guidance=1.0))
    own = prior.loss(codes, components, everything(400))
    shuffled = prior.loss(torch.randint(SMALL.codes, codes.shape), components, everything(400))
    counts = torch.bincount(codes[:, 0, 0], minlength=SMALL.codes) / 400
    first = torch.arange(SMALL.codes)
    probe = codes[:1].expand(SMALL.codes, -1, -1).clone()
    probe[:, 0, 0] = first
    states = prior.transformer(inputs_embeds=prior._condition(components[:1], everything(1))[0]).last_hidden_state[
        :, -1
    ]
    expected = prior._head(states + prior.slot[0]).softmax(-1)[0]
    assert float(own.detach()) < float(shuffled.detach())
    assert float((counts - expected.detach()).abs().sum()) < 0.25


def test_an_item_depends_on_its_condition_and_seed_alone(prior: ImagePrior) -> None:
    components = torch.randn(5, 6)
    together = prior.sample(components, [7, 8, 9, 10, 11])
    alone = prior.sample(components[3:4], [10])
    other_seed = prior.sample(components[3:4], [99])
    assert torch.equal(together[3:4], alone)
    assert not torch.equal(alone, other_seed)


def test_guidance_of_one_is_none_and_more_follows_the_condition(prior: ImagePrior) -> None:
    components = 2 * torch.randn(64, 6)
    seeds = list(range(64))
    plain = prior.sample(components, seeds, Sampling(temperature=1.0, guidance=1.0))
    guided = prior.sample(components, seeds, Sampling(temperature=1.0, guidance=3.0))
    absent = prior.sample(components, seeds, Sampling(temperature=1.0, guidance=0.0))

    def evidence(codes: torch.Tensor) -> float:
        with torch.no_grad():
            without, with_condition = (prior.loss(codes, components, k) for k in (~everything(64), everything(64)))
        return float(without - with_condition)

    assert evidence(absent) < evidence(plain) < evidence(guided)


def test_without_a_condition_it_does_not_matter(prior: ImagePrior) -> None:
    codes = torch.randint(SMALL.codes, (2, 4, 4))
    losses = [float(prior.loss(codes, torch.randn(2, 6), ~everything(2)).detach()) for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_shrunken_condition_predicts_the_component_without_bias() -> None:
    """For a least-squares prediction p of c, the regression of c on p has slope 1."""
    torch.manual_seed(0)
    components = torch.randn(40_000, 4)
    predicted = shrunken(components)
    slope = (predicted * components).sum() / predicted.square().sum()
    assert float(slope) == pytest.approx(1.0, abs=0.02)
    assert 0.3 < float(predicted.square().mean()) < 0.9


def test_saved_and_loaded_it_samples_the_same(prior: ImagePrior, tmp_path: Path) -> None:
    prior.half().float().save(tmp_path / "prior.safetensors")
    loaded = ImagePrior.load(tmp_path / "prior.safetensors")
    components = torch.randn(2, 6)
    assert loaded.config == SMALL
    assert torch.equal(loaded.sample(components, [1, 2]), prior.sample(components, [1, 2]))
