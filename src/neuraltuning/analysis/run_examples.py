"""The examples of a run's split that analyses look at: one of each task for each image, those that `evaluate` asks.

Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuraltuning.configuration import load_settings
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError
from neuraltuning.evaluation.evaluator import collect_examples
from neuraltuning.tasks import Example
from neuraltuning.training.run import CONFIGURATION
from neuraltuning.training.settings import RunSettings


@dataclass(frozen=True)
class RunExamples:
    """Examples of a run's split.

    Attributes:
        tasks: the run's tasks that have an example on the split.
        by_sample: for each sample in order, task -> its first example.
    """

    tasks: tuple[str, ...]
    by_sample: list[dict[str, Example]]


def run_settings(run: Path) -> RunSettings:
    """The configuration that a run was tuned by.

    Raises:
        InputError: `run` is no run's folder.
    """
    path = run / CONFIGURATION
    if not path.is_file():
        raise InputError(f"{run} has no {CONFIGURATION}; give the folder of a run that `neuraltuning tune` wrote.")
    return load_settings(RunSettings, path)


def run_examples(settings: RunSettings, split: str, samples: int) -> RunExamples:
    """The first `samples` samples of a split as examples.

    Raises:
        InputError: there is no such split, or it has no example of the run's tasks.
    """
    source, own_name = settings.data.of_split(split)
    by_sample = []
    for sample in open_split(source.source, own_name, settings.data.seed, samples):
        found = collect_examples(settings, [sample], own_name, settings.mixture_of(source))
        by_sample.append({task: examples[0] for task, examples in found.items()})
    tasks = tuple(task for task in settings.mixture_of(source) if any(task in found for found in by_sample))
    if not tasks:
        raise InputError(f"The split {split!r} has no example of the tasks {', '.join(settings.tasks)}.")
    return RunExamples(tasks, by_sample)
