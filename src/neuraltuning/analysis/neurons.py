"""Which neurons of the sparse task network each task uses, and how much tasks share (the papers' figure 2b).

    neuraltuning analyse neurons runs/benchmark

Replies are fed to the model rather than generated, by default the true ones, and a neuron is counted at the positions
that *predict the reply's tokens and its end*: there it acts on what the model says. Positions of image and prompt are
left out, because the image's are the same for all tasks and the prompt's are the user's words. True replies have the
same texts whatever the model, and each position is defined also where the model would err; `own_replies` counts over
what the model itself writes instead. Beside the tuned model stands the same one with its sparse task network as it was
before tuning: what the texts alone make tasks share. Knows nothing of pictures or pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from neuraltuning.analysis import overlap
from neuraltuning.analysis.overlap import Measure, Rates
from neuraltuning.analysis.results import NEURONS
from neuraltuning.analysis.run_examples import RunExamples, run_examples, run_settings
from neuraltuning.device import best_device
from neuraltuning.errors import InputError
from neuraltuning.evaluation.evaluator import Runner
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.model_folder import find_model
from neuraltuning.packing import NO_LABEL, Packer
from neuraltuning.tasks import Example, get_task
from neuraltuning.tuners.neural import record_activations
from neuraltuning.tuners.neural.layer import NeuralTuningLayer

NEVER_BELOW = 0.01
"""A neuron whose frequency stays below this in every task counts as never used."""
RELATED = ("referring_segmentation", "reasoning_segmentation")
"""The tasks whose relation the papers name (preprint and journal paper, section 3.2)."""
LIMITS = (
    "The test is of one model, one split and these tasks: images are the replicates, so it says whether the order of "
    "overlaps would hold on other images, not whether it would with other seeds, models or tasks. Layers are not "
    "independent, because the vector travels from layer to layer. Related tasks also have related texts: the model "
    "before tuning shows how much they share by their words alone."
)

Report = Callable[[str, int, int], None]
"""Called after each step with what is done, how many of them are done, and how many there are."""


def analyse_neurons(
    run: Path,
    *,
    split: str,
    samples: int,
    threshold: float,
    own_replies: bool = False,
    related: Sequence[tuple[str, str]] = (RELATED,),
    report: Report = lambda what, done, of: None,
) -> tuple[dict[str, Any], Rates]:
    """Counts and compares.

    Args:
        run: a run's folder.
        split: whose examples are read.
        samples: so many images of it, each with one example of each task.
        threshold: frequency from which on a neuron is active for a task, in (0, 1].
        own_replies: count over the model's own replies, generated freely, instead of the true ones.
        related: pairs of tasks for which the papers' claim is tested; pairs that the run lacks are passed over.
        report: takes the progress.

    Returns:
        What neurons.json holds, and the tuned model's rates.

    Raises:
        InputError: the folder is no run, its tuner has no sparse neurons, or there is no such split.
    """
    settings = run_settings(run)
    if settings.model.tuner.method != "neural_tuning":
        raise InputError(
            f"{run} was tuned by {settings.model.tuner.method}, which has no sparse neurons; give a run of "
            "neural_tuning."
        )
    examples = run_examples(settings, split, samples)
    model = MultitaskModel.from_pretrained(find_model(run)).to(best_device())
    if own_replies:
        examples = with_own_replies(model, examples, report)
    tuned = measure_rates(model, examples, lambda done, of: report("tuned model", done, of))
    with tuner_before_tuning(model):
        untuned = measure_rates(model, examples, lambda done, of: report("before tuning", done, of))
    config = model.llm.active_peft_config
    result = {
        "format_version": NEURONS.version,
        "run": run.resolve().name,
        "split": split,
        "samples": len(examples.by_sample),
        "replies": "the model's own" if own_replies else "true",
        "beta": config.beta,
        "d_z": config.d_z,
        **compare_tasks(tuned, untuned, threshold, related, report),
    }
    return result, tuned


def compare_tasks(
    tuned: Rates, untuned: Rates, threshold: float, related: Sequence[tuple[str, str]], report: Report
) -> dict[str, Any]:
    """Counts of neurons, overlaps of all pairs of tasks, and the tests, from the rates of one set of examples."""
    measures: dict[str, Measure] = {
        "jaccard": overlap.jaccard(threshold),
        "rank_correlation": overlap.rank_correlation,
    }
    frequencies = dict(zip(tuned.tasks, tuned.frequencies(), strict=True))
    pairs = overlap.pairs(tuned.tasks)
    found = []
    for done, (first, second) in enumerate(pairs):
        entry: dict[str, Any] = {"tasks": [first, second], "related": {first, second} in map(set, related)}
        for name, measure in measures.items():
            entry[name], entry[f"{name}_ci95"] = overlap.overlap(tuned, first, second, measure)
            entry[f"{name}_before_tuning"] = overlap.overlap(untuned, first, second, measure)[0]
        both = frequencies[first], frequencies[second]
        entry["jaccard_by_chance"] = overlap.chance_jaccard(*both, threshold)
        entry["jaccard_by_layer"] = overlap.jaccard_by_layer(*both, threshold).tolist()
        found.append(entry)
        report("overlaps", done + 1, len(pairs))
    tests = []
    for pair in related:
        if set(pair) <= set(tuned.tasks) and len(tuned.tasks) > 2:
            tests.append({"related": list(pair)} | {n: _test(tuned, untuned, pair, m) for n, m in measures.items()})
            report("tests", len(tests), len(related))
    counts = overlap.census(tuned.frequencies(), threshold, NEVER_BELOW)
    return _without_nan(
        {
            "layers": list(tuned.layers),
            "tasks": {
                task: {
                    "examples": int((tuned.tokens[:, place] > 0).sum()),
                    "tokens": int(tuned.tokens[:, place].sum()),
                    "active": overlap.is_active(frequencies[task], threshold).sum(-1).tolist(),
                }
                for place, task in enumerate(tuned.tasks)
            },
            "threshold": threshold,
            "never_below": NEVER_BELOW,
            "neurons": {kind: sum(by_layer) for kind, by_layer in counts.items()},
            "neurons_by_layer": counts,
            "pairs": found,
            "tests": tests,
            "permuted": overlap.PERMUTED,
            "limits": LIMITS,
        }
    )


def measure_rates(model: MultitaskModel, examples: RunExamples, report: Callable[[int, int], None]) -> Rates:
    """Reads each image with its examples once and counts active neurons where the replies' tokens are predicted.

    Args:
        model: with neural tuning.
        examples: to be read.
        report: takes how many images are done, of how many.
    """
    packer = Packer(model, row_length=2**31)  # one row an image, however long
    each: list[dict[str, tuple[int, np.ndarray]]] = []
    layers: tuple[int, ...] = ()
    for done, by_task in enumerate(examples.by_sample):
        found = {}
        if by_task:
            batch = packer([[replace(example, targets={}) for example in by_task.values()]]).to(model.device)
            with torch.no_grad(), model.evaluating(), record_activations(model.llm, model.llm.active_adapter) as record:
                _, projected = model.see(batch.pixel_values)
                model.run(model.embed(batch.input_ids, projected, batch.image_order), batch)
            active = record.joined()
            layers = tuple(active)
            for number, task in enumerate(batch.task_names):
                predicting = (batch.labels != NO_LABEL) & (batch.label_tasks == number)
                shares = torch.stack([of_layer[predicting].float().mean(0) for of_layer in active.values()])
                found[task] = int(predicting.sum()), shares.cpu().numpy()
        each.append(found)
        report(done + 1, len(examples.by_sample))
    shape = next(rates.shape for found in each for _, rates in found.values())
    values = np.full((len(each), len(examples.tasks), *shape), np.nan, dtype=np.float32)
    tokens = np.zeros((len(each), len(examples.tasks)), dtype=np.int64)
    for sample, found in enumerate(each):
        for task, (count, rates) in found.items():
            place = examples.tasks.index(task)
            values[sample, place], tokens[sample, place] = rates, count
    return Rates(examples.tasks, layers, values, tokens)


def with_own_replies(model: MultitaskModel, examples: RunExamples, report: Report) -> RunExamples:
    """The same examples, each with the reply that the model gives to it."""

    def answered(by_task: dict[str, Example]) -> dict[str, Example]:
        queries = [
            Query(example.image, example.prompt, max_new_tokens=get_task(task).max_new_tokens)
            for task, example in by_task.items()
        ]
        replies = Runner(len(queries), lambda *progress: None)(model, queries, "")
        return {
            task: replace(example, reply=reply.text)
            for (task, example), reply in zip(by_task.items(), replies, strict=True)
        }

    by_sample = []
    for done, by_task in enumerate(examples.by_sample):
        by_sample.append(answered(by_task))
        report("replies", done + 1, len(examples.by_sample))
    return replace(examples, by_sample=by_sample)


@contextmanager
def tuner_before_tuning(model: MultitaskModel, seed: int = 0) -> Iterator[None]:
    """Inside the block the sparse task network is as it is before tuning: W_z drawn anew, W_b zero.

    Everything else stays as tuned: image tokens, names, the task tokens' vectors.
    """
    tuned = {name: value for name, value in model.trained_state().items() if name.startswith("tuner.")}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in model.llm.modules():
            if isinstance(layer, NeuralTuningLayer):
                for down in layer.neural_tuning_down.values():
                    cast(nn.Linear, down).reset_parameters()
                for up in layer.neural_tuning_up.values():
                    cast(nn.Linear, up).weight.zero_()
                for norm in layer.neural_tuning_norm.values():
                    cast(nn.RMSNorm, norm).reset_parameters()
    try:
        yield
    finally:
        model.load_trained_state(tuned)


def _test(tuned: Rates, untuned: Rates, pair: tuple[str, str], measure: Measure) -> dict[str, Any]:
    """The test of one related pair under one measure, as JSON holds it."""
    found = overlap.relatives_share_more(tuned, pair, measure)
    comparisons = []
    for comparison in found.pop("comparisons"):
        gained, interval = overlap.gain(
            tuned, untuned, comparison.anchor, comparison.relative, comparison.other, measure
        )
        comparisons.append(asdict(comparison) | {"gain_by_tuning": gained, "gain_by_tuning_ci95": interval})
    return found | {"comparisons": comparisons}


def _without_nan(value: Any) -> Any:
    """What is undefined as None, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value
