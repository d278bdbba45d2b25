"""The cost of a whole pass: parts against their own counts and published figures, tables, files, and the bar."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from neuraltuning.analysis.cost import cost
from neuraltuning.analysis.known_models import llm_config, meta_encoder
from neuraltuning.analysis.measured_cost import REPEATS, measure
from neuraltuning.analysis.published_cost import compare
from neuraltuning.analysis.results import COST
from neuraltuning.analysis.system_cost import PARTS, MethodCost, system_costs, tokens_for
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.model_settings import ModelSettings
from neuraltuning.packing import Packer
from neuraltuning.tasks import Example
from tests.analysis.conftest import strict_json
from tests.command_line import Run
from tests.tiny_models import llm_folder, model_settings, sample

LLAMA2_7B = ModelSettings(llm="llama2-7b", encoder="clip-vit-large-patch14", decoders={"mask": {}})
METHODS = ("neural_tuning", "lora", "prefix_tuning", "mit", "sam_decoder")
SECONDS, BYTES = 20, 2e9
"""The bar of a count of LLaMA2-7B with CLIP-ViT-L/14 without weights."""


@pytest.fixture(scope="module")
def costs() -> dict[str, MethodCost]:
    return system_costs(LLAMA2_7B)


def test_the_papers_pair(costs: dict[str, MethodCost]) -> None:
    assert tuple(costs) == METHODS
    ours = costs["neural_tuning"]
    assert ours.tokens == 356 and tuple(ours.flops) == tuple(ours.parameters) == PARTS
    assert ours.parameters["llm"] == 6_738_415_616 and ours.parameters["tuner"] == 50_331_648
    assert ours.parameters["encoder"] == 303_966_208  # CLIP-ViT-L/14's vision tower with its projection
    # 24 layers of 257 tokens, a multiply-add as two: projections, scores, and the patches' convolution
    layers = 24 * (12 * 257 * 1024**2 + 2 * 257**2 * 1024)
    assert ours.flops["encoder"] == 2 * (layers + 256 * 1024 * 3 * 14**2 + 1024 * 768)
    assert ours.flops["llm"] == cost(llm_config("llama2-7b"), tokens=356).flops
    assert ours.flops["tuner"] == 2 * 356 * 50_331_648
    assert pytest.approx(ours.total_flops / 2e12, rel=0.01) == 2.47  # the papers' figure, counting multiply-adds
    assert ours.trained == sum(ours.parameters[part] for part in ("projector", "tuner", "decoder")) + 2 * 4096
    assert 0.0074 < ours.trained_share < 0.029  # the tuner alone, and the papers' total
    assert ours.inference_bytes > 2 * ours.parameters["llm"]


def test_methods_of_one_size_cost_the_same(costs: dict[str, MethodCost]) -> None:
    for method in ("lora", "prefix_tuning"):
        assert costs[method].parameters == costs["neural_tuning"].parameters
        assert costs[method].flops == costs["neural_tuning"].flops
    assert costs["lora"].about == "rank 96" and costs["prefix_tuning"].about == "192 virtual tokens"


def test_infusion_adds_no_tokens(costs: dict[str, MethodCost]) -> None:
    mit = costs["mit"]
    assert mit.tokens == 100 and mit.training_bytes is None
    assert mit.flops["llm"] == cost(llm_config("llama2-7b"), tokens=100).flops
    # keys and values with a factor and a summand each, the feed-forward's factor, the way to a head; 32 heads
    outputs = 4 * 4096 + 11008 + 128
    assert mit.parameters["tuner"] == 6 * ((768 + 1) * outputs + 32)
    assert mit.flops["tuner"] == 6 * 2 * 768 * outputs
    assert mit.flops["projector"] == 0


def test_sam_is_as_large_as_published(costs: dict[str, MethodCost]) -> None:
    sam = costs["sam_decoder"]
    assert sam.parameters["decoder"] == pytest.approx(641e6, rel=0.03)  # 637 M of ViT-H and 4 M of the mask decoder
    assert sam.flops["decoder"] / 2e12 == pytest.approx(2.98, rel=0.01)  # ViT-H's encoder, in multiply-adds
    assert sam.flops["llm"] == costs["lora"].flops["llm"]


def test_tokens_for_a_figure(costs: dict[str, MethodCost]) -> None:
    lengths = costs["neural_tuning"], costs["mit"]
    for one in costs.values():
        assert tokens_for(one.total_flops, one, lengths) == pytest.approx(one.tokens)
    longer = cost(llm_config("llama2-7b"), tokens=641)
    fixed = sum(costs["neural_tuning"].flops[part] for part in ("encoder", "projector", "decoder"))
    wanted = fixed + longer.flops + longer.tuner_flops
    assert tokens_for(wanted, costs["neural_tuning"], lengths) == pytest.approx(641, rel=1e-4)
    assert tokens_for(1e9, costs["neural_tuning"], lengths) is None


def test_the_papers_figures_stand_beside_ours(costs: dict[str, MethodCost]) -> None:
    rows = {row["method"]: row for row in compare(costs)}
    assert {method: row["paper"]["tflops"] for method, row in rows.items()} == {
        "neural_tuning": 2.47,
        "lora": 2.38,
        "prefix_tuning": 3.32,
        "mit": 0.47,
        "sam_decoder": 7.16,
    }
    for row in rows.values():
        assert row["tflops_at_two"] == 2 * row["tflops_at_one"] and row["explanation"]
    # what the explanations say
    llm = costs["lora"].flops["llm"]
    assert llm / 2e12 == pytest.approx(2.38, abs=0.006)
    assert costs["lora"].flops["tuner"] < 0.01 * costs["lora"].total_flops
    assert (3.32 - 2.38) / (llm / 2e12) * 356 == pytest.approx(140, abs=1)
    assert cost(llm_config("llama2-7b"), tokens=35).flops / 1e12 == pytest.approx(0.47, abs=0.01)
    assert costs["sam_decoder"].flops["decoder"] > llm
    assert rows["sam_decoder"]["tokens_at_one"] == pytest.approx(600, abs=5)


def test_thirteen_billion() -> None:
    config = llm_config("meta-llama/Llama-2-13b-hf")
    assert cost(config, tokens=8).parameters == 13_015_864_320


def test_parts_are_those_of_a_built_model(tmp_path: Path) -> None:
    settings = model_settings(tmp_path, names={"slots": 5})
    model = MultitaskModel.build(settings)
    found = system_costs(settings, text_tokens=40)["neural_tuning"]
    assert found.tokens == model.image_length + 40
    trainable = model.trainable_parameters()
    assert found.trained == sum(parameter.numel() for parameter in trainable.values())
    for part, prefix in (("tuner", "tuner."), ("projector", "projector.")):
        assert found.parameters[part] == sum(p.numel() for name, p in trainable.items() if name.startswith(prefix))
    assert found.parameters["encoder"] == sum(parameter.numel() for parameter in model.encoder.parameters())

    for network in (model.language_model, model.encoder.model):
        network.set_attn_implementation("eager")  # torch counts no fused attention on a CPU
    shown = sample()
    example = Example("t", "x", shown.image, "Segment.", "It <OBJ>.", {"<OBJ>": [shown.objects[0].mask]})
    batch = Packer(model, 400)([[example]])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features, projected = model.see(batch.pixel_values)
        model.run(model.embed(batch.input_ids, projected, batch.image_order), batch)
    tokens = batch.input_ids.shape[1]
    counted = system_costs(settings, text_tokens=tokens - model.image_length)["neural_tuning"].flops
    head = 2 * tokens * 32 * model.language_model.config.vocab_size
    bookkeeping = counter.get_total_flops() - sum(counted[p] for p in ("encoder", "projector", "llm", "tuner")) + head
    assert 0 <= bookkeeping < 0.05 * counter.get_total_flops()  # task tokens' rows, names' parts: no part of the count
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        owners = torch.zeros(1, dtype=torch.int64)
        model.decoder("mask")(torch.zeros(1, model.bridge("mask").free.out_features + 2 * 32), features, owners)
    assert counted["decoder"] >= counter.get_total_flops() > 0


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_other_encoders_are_read_from_their_configuration(tmp_path: Path, kind: str) -> None:
    settings = model_settings(tmp_path, kind=kind)
    built = MultitaskModel.build(settings).encoder
    made = meta_encoder(settings.encoder)
    assert (made.grid, made.token_size, made.embedding_size) == (built.grid, built.token_size, built.embedding_size)
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in built.parameters())
    assert all(parameter.is_meta for parameter in made.parameters())


def test_times_and_memory_are_measured(tmp_path: Path) -> None:
    model = MultitaskModel.build(model_settings(tmp_path))
    shown = sample()
    example = Example("t", "x", shown.image, "Segment.", "It <OBJ>.", {"<OBJ>": [shown.objects[0].mask]})
    asked: list[str] = []
    real = model.teacher_forced

    def counted(examples: list[Example]) -> list:
        asked.append(examples[0].id)
        return real(examples)

    model.teacher_forced = counted  # type: ignore[method-assign, assignment]
    found = measure(model, example)
    assert len(asked) == REPEATS + 1
    assert 0 < found["pass_seconds"] < 10 and 0 < found["reply_seconds"] < 60
    assert found["peak_bytes"] > 1e8 and found["device"] == "cpu" and found["dtype"] == "float32"
    assert found["image_tokens"] == 16 and found["text_tokens"] > 5


def test_the_command_counts_and_measures_a_run(run: Path, command: Run) -> None:
    status, said, _ = command("analyse", "cost", run)
    path = run / "analysis" / "cost.json"
    assert status == 0 and said.splitlines()[-1] == str(path)
    found = strict_json(path)
    assert found["format_version"] == COST.version and tuple(found["methods"]) == METHODS
    assert found["papers"] is None and found["measured"]["pass_seconds"] > 0 and "Measured on cpu" in said
    assert (found["image_tokens"], found["text_tokens"]) == (21, 100)
    for one in found["methods"].values():
        assert (
            one["flops_total"] == sum(one["flops"].values()) and one["multiply_adds_total"] == one["flops_total"] // 2
        )
        assert one["parameters_total"] == sum(one["parameters"].values())


def test_the_command_counts_a_configuration(run: Path, parts: Path, tmp_path: Path, command: Run) -> None:
    llm = str(llm_folder(parts / "qwen2", "qwen2"))
    status, said, _ = command(
        *("analyse", "cost", run / "configuration.yaml", "--llm", llm, "--text-tokens", 20, "--image-tokens", 9),
        *("--output", tmp_path / "cost.json"),
    )
    found = strict_json(tmp_path / "cost.json")
    assert status == 0 and "not measured" in said and found["measured"] is None
    assert found["llm"] == llm and found["methods"]["neural_tuning"]["tokens"] == 29
    assert found["methods"]["mit"]["tokens"] == 20


def test_the_bar_is_met() -> None:
    """In a process of its own; in seconds of processor time, because the machine may be busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = "import resource, sys; from neuraltuning.cli import main; sys.argv[1:] = ['analyse', 'cost']\n"
    program += "try: main()\nfinally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
    assert int(done.stderr.split()[-1]) * 1024 < BYTES
    assert "2.489" in done.stdout and "256 image and 100 text tokens" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["--llm", "no/such/folder"], "There is no language model 'no/such/folder'"),
        (["--encoder", "no/such/folder"], "There is no image encoder 'no/such/folder'"),
        (["--llm", "none.gguf"], "There is no GGUF file none.gguf"),
        (["RUN", "--llm", "llama2-7b"], "A run has its own --llm and --encoder"),
    ],
)
def test_bad_input_is_a_sentence(run: Path, command: Run, arguments: list[str], message: str) -> None:
    status, said, error = command("analyse", "cost", *(run if a == "RUN" else a for a in arguments))
    assert status == 2 and message in error and not said


def test_a_folder_without_a_vision_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(InputError, match="no square patches"):
        meta_encoder(str(tmp_path))
    with pytest.raises(InputError, match="image tokens"):
        system_costs(LLAMA2_7B, image_tokens=0)
