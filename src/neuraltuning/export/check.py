"""Compares an exported part with the model that it was made from. Knows neither ONNX nor what parts do."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neuraltuning.errors import RunError
from neuraltuning.export.part import Part, Run

TOLERANCE = 1e-3
"""Largest accepted difference of an output, as a share of its largest magnitude. Rounding alone stays below 5e-5; whole
numbers have to be equal."""


@dataclass(frozen=True)
class Difference:
    """How far an output was from the model's.

    Attributes:
        max_abs: the largest difference of an entry.
        max_rel: the same as a share of the output's largest magnitude; infinite for whole numbers that differ.
    """

    max_abs: float
    max_rel: float


def check(part: Part, run: Run) -> dict[str, Difference]:
    """The largest difference of each output over all comparisons of a part.

    Raises:
        RunError: an output differs by more than `TOLERANCE`, or isn't a number.
    """
    found: dict[str, Difference] = {}
    for name, wanted, got in part.comparisons(run):
        difference = _difference(wanted, got)
        if not difference.max_rel <= TOLERANCE:
            raise RunError(
                f"The exported {part.name} doesn't compute what the model does: its {name} differs by "
                f"{difference.max_rel:.2g} of its largest magnitude, and {TOLERANCE:g} are allowed; nothing was "
                "written. Try another release of torch, onnxscript or onnxruntime."
            )
        before = found.get(name, difference)
        found[name] = Difference(max(difference.max_abs, before.max_abs), max(difference.max_rel, before.max_rel))
    return found


def _difference(wanted: Tensor, got: Tensor) -> Difference:
    if wanted.shape != got.shape:
        return Difference(float("inf"), float("inf"))
    if not wanted.numel():
        return Difference(0.0, 0.0)
    largest = float((wanted.double() - got.double()).abs().max())
    if not wanted.is_floating_point():
        return Difference(largest, float("inf") if largest else 0.0)
    return Difference(largest, largest / max(float(wanted.abs().max()), 1e-12))
