"""Costs as JSON and as tables on the terminal. Knows counted costs, not how they are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from neuraltuning.analysis.cost_labels import CONVENTIONS, LABELS, PART_LABELS
from neuraltuning.analysis.published_cost import LATENCY, compare
from neuraltuning.analysis.results import COST
from neuraltuning.analysis.system_cost import PARTS, MethodCost


def cost_record(
    llm: str,
    encoder: str,
    text_tokens: int,
    costs: dict[str, MethodCost],
    measured: dict[str, Any] | None,
    *,
    papers: bool,
) -> dict[str, Any]:
    """What cost.json holds.

    Args:
        llm, encoder: their names.
        text_tokens: of the pass.
        costs: by method.
        measured: what was measured with weights; None without.
        papers: set the papers' figures beside them, which are of LLaMA2-7B with CLIP-ViT-L/14.
    """
    return {
        "format_version": COST.version,
        "llm": llm,
        "encoder": encoder,
        "image_tokens": costs["neural_tuning"].tokens - text_tokens,
        "text_tokens": text_tokens,
        "conventions": CONVENTIONS,
        "methods": {method: _method(one) for method, one in costs.items()},
        "papers": compare(costs) if papers else None,
        "papers_latency": LATENCY if papers else None,
        "measured": measured,
    }


def _method(one: MethodCost) -> dict[str, Any]:
    return {
        "about": one.about,
        "tokens": one.tokens,
        "parameters": dict(one.parameters),
        "parameters_total": sum(one.parameters.values()),
        "trained": one.trained,
        "trained_share": one.trained_share,
        "flops": dict(one.flops),
        "flops_total": one.total_flops,
        "multiply_adds_total": one.total_flops // 2,
        "estimated_inference_bytes": one.inference_bytes,
        "estimated_training_bytes": one.training_bytes,
    }


def cost_tables(record: Mapping[str, Any]) -> RenderableType:
    """The tables of a record, for rich."""
    parts: list[RenderableType] = [_operations_table(record), _memory_table(record)]
    if record["papers"]:
        parts += [_papers_table(record["papers"]), record["papers_latency"]]
    parts.append(_measured_line(record["measured"]))
    return Group(*parts)


def _operations_table(record: Mapping[str, Any]) -> Table:
    title = (
        f"{record['llm']} with {record['encoder']}: one pass at {record['image_tokens']} image and "
        f"{record['text_tokens']} text tokens, in TFLOPs (a multiply-add counts two)"
    )
    table = Table(title=title, title_justify="left", caption=record["conventions"], caption_justify="left")
    table.add_column("")
    for name in (*(PART_LABELS[part] for part in PARTS), "all", "all, a multiply-add as one"):
        table.add_column(name, justify="right")
    for method, one in record["methods"].items():
        table.add_row(
            LABELS[method],
            *(f"{one['flops'][part] / 1e12:.4f}" for part in PARTS),
            f"{one['flops_total'] / 1e12:.3f}",
            f"{one['multiply_adds_total'] / 1e12:.3f}",
        )
    return table


def _memory_table(record: Mapping[str, Any]) -> Table:
    table = Table(title="Parameters in millions, and estimated memory in GB", title_justify="left")
    table.add_column("")
    table.add_column("size")
    for name in ("tokens", "parameters", "trained", "share", "pass", "training step, LLM and tuner"):
        table.add_column(name, justify="right")
    for method, one in record["methods"].items():
        training = one["estimated_training_bytes"]
        table.add_row(
            LABELS[method],
            one["about"],
            str(one["tokens"]),
            f"{one['parameters_total'] / 1e6:,.0f}",
            f"{one['trained'] / 1e6:,.1f}",
            f"{one['trained_share']:.2%}",
            f"{one['estimated_inference_bytes'] / 1e9:.2f}",
            "-" if training is None else f"{training / 1e9:.2f}",
        )
    return table


def _papers_table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(
        title="The papers' figures, and ours with a multiply-add as two and as one operation",
        title_justify="left",
        show_lines=True,
    )
    for name, width in (("", 18), ("TFLOPs", 6), ("ours, at two", 8), ("ours, at one", 8), ("tokens for theirs", 11)):
        table.add_column(name, justify="right" if name else "left", max_width=width)
    table.add_column("why they differ", ratio=1)
    for row in rows:
        tokens = " / ".join("-" if row[key] is None else str(row[key]) for key in ("tokens_at_two", "tokens_at_one"))
        table.add_row(
            f"{row['paper']['name']}, {row['paper']['source']}",
            f"{row['paper']['tflops']:.2f}",
            f"{row['tflops_at_two']:.2f}",
            f"{row['tflops_at_one']:.2f}",
            f"{tokens}\n(ours: {row['tokens']})",
            row["explanation"],
        )
    return table


def _measured_line(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "Time and peak memory: not measured, because there are no weights here; give a run to measure its model."
    peak = measured["peak_bytes"]
    memory = "unknown" if peak is None else f"{peak / 1e9:.2f} GB"
    return (
        f"Measured on {measured['device']} ({measured['dtype']}, {measured['threads']} threads) with "
        f"{measured['image_tokens']} image and {measured['text_tokens']} text tokens: a pass takes "
        f"{measured['pass_seconds']:.3f} s, a reply of {measured['generated_tokens']} tokens "
        f"{measured['reply_seconds']:.3f} s; peak memory {memory}."
    )
