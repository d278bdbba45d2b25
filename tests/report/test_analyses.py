"""The report's section of analyses: there where results are, escaped, and a sentence for results of another version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neuraltuning.errors import InputError
from neuraltuning.report.page import write_report
from tests.report.test_page import Page

TASKS = ["referring_segmentation", "reasoning_segmentation", "captioning"]


def comparison(other: str, p: float | None) -> dict[str, Any]:
    return {
        "anchor": TASKS[0],
        "relative": TASKS[1],
        "other": other,
        "difference": 0.25,
        "p": p,
        "n": 8,
        "gain_by_tuning": 0.125,
        "gain_by_tuning_ci95": [0.0625, 0.1875],
    }


def neurons(p: float | None = 0.001) -> dict[str, Any]:
    pairs = [
        {
            "tasks": [first, second],
            "related": "captioning" not in (first, second),
            "jaccard": value,
            "jaccard_ci95": [value - 0.1, value + 0.1],
            "jaccard_before_tuning": 0.875,
            "jaccard_by_chance": 0.22,
            "rank_correlation": None,
            "rank_correlation_ci95": None,
            "rank_correlation_before_tuning": 0.5,
        }
        for first, second, value in ((TASKS[0], TASKS[2], 0.5), (TASKS[0], TASKS[1], 0.75))
    ]
    measured = {"p": p, "rank": 1, "pairs": 3, "p_of_rank": 1 / 3, "comparisons": [comparison("captioning", p)]}
    return {
        "format_version": 1,
        "split": "validation<b>",
        "samples": 8,
        "replies": "true",
        "threshold": 0.5,
        "never_below": 0.01,
        "pairs": pairs,
        "tests": [{"related": TASKS[:2], "jaccard": measured, "rank_correlation": measured}],
        "permuted": "Names, in each image",
        "limits": "One model.",
    }


def attention(n_items: int = 5) -> dict[str, Any]:
    look = {"word": "<OBJ>", "pictures": ["1-1-layers.png"]}
    items = [{"id": f"i{k}", "reply": "<script> <OBJ>", "picture": f"{k}.png", "looks": [look]} for k in range(n_items)]
    scores = {"object": 3.5, "object_ci95": [3.0, 4.0], "other_objects": 2.5, "other_objects_ci95": [2.0, 3.0]}
    lift: dict[str, Any] = {"n": 8, "patches": {**scores, "difference": 1.0, "difference_ci95": [0.0, 2.0]}}
    return {
        "format_version": 1,
        "what": "Where a layer reads from.",
        "items": items,
        "lift": lift | {"described": {"object": None}},
    }


def cost() -> dict[str, Any]:
    flops = {"encoder": 1e9, "projector": 2e9, "llm": 3e9, "tuner": 4e9, "decoder": 5e9}
    method = {
        "flops": flops,
        "flops_total": 15e9,
        "parameters_total": 7_000_000,
        "trained": 300_000,
        "estimated_inference_bytes": 14_500_000_000,
    }
    measured = {
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
        "image_tokens": 79,
        "text_tokens": 28,
        "generated_tokens": 12,
        "pass_seconds": 0.25,
        "reply_seconds": 1.5,
        "peak_bytes": 1_100_000_000,
    }
    return {
        "format_version": 1,
        "llm": "a",
        "encoder": "b",
        "image_tokens": 79,
        "text_tokens": 100,
        "methods": {"neural_tuning": method},
        "measured": measured,
    }


def put(run: Path, path: str, record: dict[str, Any]) -> Path:
    file = run / "analysis" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))
    return file


def picture(run: Path, path: str) -> None:
    (run / "analysis" / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (40, 20), (200, 10, 10, 90)).save(run / "analysis" / path)


def section(run: Path) -> tuple[str, str]:
    """The section's HTML, and its words."""
    html = write_report(run).read_text(encoding="utf-8")
    Page(html)
    part = html[html.index('<section id="analyses">') :]
    part = part[: part.index("</section>")]
    return part, Page(f"<section>{part.partition('>')[2]}</section>").words


def test_without_results_there_is_no_section(run_dir: Path) -> None:
    html = write_report(run_dir).read_text(encoding="utf-8")
    assert 'id="analyses"' not in html and "#analyses" not in html


def test_neurons(run_dir: Path) -> None:
    put(run_dir, "neurons.json", neurons())
    for name in ("neurons.png", "neurons-overlap.png"):
        picture(run_dir, name)
    html, words = section(run_dir)
    assert 'href="#analyses"' in write_report(run_dir).read_text(encoding="utf-8")
    assert html.count("data:image/webp;base64,") == 2 and "The picture neurons-layers.png can't be read." in words
    assert "8 images of the split \u201cvalidation<b>\u201d" in words and "<b>" not in html
    assert "Referring segmentation and reasoning segmentation share more neurons with each other" in words
    assert "p 0.001 for the Jaccard index" in words and "rank 1 of 3 pairs" in words
    assert words.index("0.75 0.65 \u2013 0.85 0.22 0.88") < words.index("0.50 0.40 \u2013 0.60")  # most shared first
    assert "Names, in each image. One model." in words and "0.25 0.001 8 0.12 0.06 \u2013 0.19" in words
    assert "Attention" not in words and "Cost" not in words


@pytest.mark.parametrize(("p", "said"), [(0.2, "Not shown: referring"), (None, "so nothing was tested")])
def test_a_claim_that_does_not_hold_is_not_said_to(run_dir: Path, p: float | None, said: str) -> None:
    put(run_dir, "neurons.json", neurons(p))
    assert said in section(run_dir)[1]


def test_attention(run_dir: Path) -> None:
    put(run_dir, "attention/attention.json", attention())
    for name in (*(f"{k}.png" for k in range(5)), "1-1-layers.png"):
        picture(run_dir, f"attention/{name}")
    html, words = section(run_dir)
    assert html.count("data:image/webp;base64,") == 6 and "<script>" not in html
    assert "on patches 3.50 3.00 \u2013 4.00 2.50" in words and "on names" not in words
    assert words.index("i2: <script> <OBJ>") < words.index("More replies") < words.index("i3: <script> <OBJ>")


def test_cost(run_dir: Path) -> None:
    put(run_dir, "cost.json", cost())
    _, words = section(run_dir)
    assert "neural tuning 1.0 2.0 3.0 4.0 5.0 15.0 7.0 0.3 14.50" in words
    assert "a pass 0.250 s, a reply of 12 tokens 1.500 s, peak memory 1.10 GB" in words
    put(run_dir, "cost.json", {**cost(), "measured": None})
    assert "Measured" not in section(run_dir)[1]


@pytest.mark.parametrize(
    ("path", "command"),
    [("neurons.json", "neurons"), ("attention/attention.json", "attention"), ("cost.json", "cost")],
)
def test_results_of_another_version_are_refused(run_dir: Path, path: str, command: str) -> None:
    write_report(run_dir)
    before = (run_dir / "report.html").read_bytes()
    file = put(run_dir, path, {"format_version": 99})
    with pytest.raises(
        InputError, match=f"{path} has format version 99.* reads 1: run `neuraltuning analyse {command}"
    ):
        write_report(run_dir)
    file.write_text("[1")
    with pytest.raises(InputError, match=f"{path} can't be read as JSON"):
        write_report(run_dir)
    file.write_text("[]")
    with pytest.raises(InputError, match=f"{path} has format version None"):
        write_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before
