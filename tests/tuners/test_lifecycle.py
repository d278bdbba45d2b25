"""An adapter's life in peft and in transformers: save, load, switch, disable, delete, unload, copy, refuse to merge."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig
from neuraltuning.tuners.neural.tape import add_tape
from tests.tuners.tiny import base_model, gradients, layers_of, randomize, tokens, tuned_model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens()).logits


def two_adapters() -> Any:
    model = tuned_model(NeuralTuningConfig(d_z=16))
    model.add_adapter("other", NeuralTuningConfig(d_z=8, layers_to_transform=[1, 2], targets="kv"))
    randomize(model, "other", seed=9)
    return model


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("preset", [NeuralTuningConfig, NeuralTuningConfig.released_code])
def test_saved_and_loaded(tmp_path: Path, preset: type[NeuralTuningConfig], low_cpu_mem_usage: bool) -> None:
    model = tuned_model(preset(d_z=16))
    model.save_pretrained(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    keys = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert all("neural_tuning_" in key for key in keys)
    loaded = PeftModel.from_pretrained(base_model(), str(tmp_path), low_cpu_mem_usage=low_cpu_mem_usage)
    assert torch.equal(logits(loaded), logits(model))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_loaded_to_be_trained_on(tmp_path: Path) -> None:
    tuned_model().save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(base_model(), str(tmp_path), is_trainable=True)
    loaded(tokens(), labels=tokens()).loss.backward()
    assert gradients(loaded)


def test_modules_to_save_come_along(tmp_path: Path) -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, modules_to_save=["lm_head"]))
    with torch.no_grad():
        model.base_model.model.lm_head.weight.add_(0.5)
    model.save_pretrained(str(tmp_path))
    assert torch.equal(logits(PeftModel.from_pretrained(base_model(), str(tmp_path))), logits(model))


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_a_file_without_its_modules_to_save_is_refused(tmp_path: Path, low_cpu_mem_usage: bool) -> None:
    tuned_model(NeuralTuningConfig(d_z=16, modules_to_save=["lm_head"])).save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if "lm_head" not in key}, file)
    base = base_model()
    with pytest.raises(InputError, match=r"lacks parameters of its modules_to_save, for example lm_head\.weight"):
        PeftModel.from_pretrained(base, str(tmp_path), low_cpu_mem_usage=low_cpu_mem_usage)
    assert torch.equal(logits(base), logits(base_model()))
    model = tuned_model(NeuralTuningConfig(d_z=16, modules_to_save=["lm_head"]))
    expected = logits(model)
    with pytest.raises(InputError, match=r"lacks parameters of its modules_to_save, for example lm_head\.weight"):
        model.load_adapter(str(tmp_path), "other", low_cpu_mem_usage=low_cpu_mem_usage)
    assert torch.equal(logits(model), expected)


def test_a_second_adapter_and_switching_back() -> None:
    alone = logits(tuned_model(NeuralTuningConfig(d_z=16)))
    model = two_adapters()
    assert torch.equal(logits(model), alone)
    model.set_adapter("other")
    other = logits(model)
    assert not torch.allclose(other, alone, atol=1e-3)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable and all(".other." in name for name in trainable)
    plans = [layer.neural_tuning_plan for layer in layers_of(model)]
    assert [plan["other"].layer for plan in plans if "other" in plan] == [1, 2]
    model.set_adapter("default")
    assert torch.equal(logits(model), alone)


def test_adapters_saved_side_by_side(tmp_path: Path) -> None:
    model = two_adapters()
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(base_model(), str(tmp_path))
    loaded.load_adapter(str(tmp_path / "other"), "other")
    for name in ("default", "other"):
        model.set_adapter(name)
        loaded.set_adapter(name)
        assert torch.equal(logits(loaded), logits(model))


def test_disabled_is_the_base_model() -> None:
    model = tuned_model()
    tuned = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(base_model()))
    assert torch.equal(logits(model), tuned)


def test_deleting_adapters() -> None:
    model = two_adapters()
    tuned = logits(model)
    model.delete_adapter("other")
    assert torch.equal(logits(model), tuned)
    assert not any(".other." in name for name, _ in model.named_parameters())
    model = two_adapters()
    model.set_adapter("other")
    other = logits(model)
    model.delete_adapter("default")
    assert torch.equal(logits(model), other)


def test_deleting_the_active_adapter_falls_back_to_another() -> None:
    model = two_adapters()
    model.set_adapter("other")
    other = logits(model)
    model.set_adapter("default")
    with pytest.warns(UserWarning, match="Setting active adapter to other"):
        model.delete_adapter("default")
    # layers that only the deleted adapter tuned run plainly
    assert torch.equal(logits(model), other)


def test_unload_gives_the_base_model_back() -> None:
    model = tuned_model().unload()
    assert torch.equal(logits(model), logits(base_model()))
    assert not layers_of(model)
    assert not any("neural_tuning" in name for name in model.state_dict())
    for module in model.modules():
        assert add_tape not in module._forward_pre_hooks.values()
        assert not module._forward_hooks
    again = get_peft_model(model, NeuralTuningConfig(d_z=16))
    randomize(again)
    assert torch.equal(logits(again), logits(tuned_model()))


def test_a_deep_copy_is_independent() -> None:
    model = two_adapters()
    tuned = logits(model)
    copied = copy.deepcopy(model)
    assert torch.equal(logits(copied), tuned)
    randomize(copied, seed=21)
    assert not torch.allclose(logits(copied), tuned, atol=1e-3)
    assert torch.equal(logits(model), tuned)
    copied.train()
    copied(tokens(), labels=tokens()).loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(logits(copied.unload()), logits(base_model()))
    assert torch.equal(logits(model), tuned)


def test_a_model_can_be_deep_copied_after_a_training_step() -> None:
    model = tuned_model().train()
    model(tokens(), labels=tokens()).loss.backward()
    copy.deepcopy(model)


def test_a_model_can_be_pickled() -> None:
    model = tuned_model().base_model.model
    assert torch.equal(logits(pickle.loads(pickle.dumps(model))), logits(model))


@pytest.mark.parametrize(
    "merge",
    [
        lambda model: model.merge_and_unload(),
        lambda model: model.merge_adapter(),
        lambda model: layers_of(model)[0].merge(),
        lambda model: model.base_model._unload_and_optionally_merge(merge=True),
    ],
)
def test_merging_is_refused_and_changes_nothing(merge: Callable[[Any], None]) -> None:
    model = tuned_model()
    tuned = logits(model)
    with pytest.raises(NotImplementedError, match="not a linear function"):
        merge(model)
    assert torch.equal(logits(model), tuned)
    assert len(layers_of(model)) == 4


def test_weighted_sums_of_adapters_are_refused() -> None:
    model = two_adapters()
    with pytest.raises(NotImplementedError, match="weighted sums"):
        model.add_weighted_adapter(["default", "other"], [0.5, 0.5], "sum")


def test_an_adapter_for_each_sample_is_refused() -> None:
    model = two_adapters()
    with pytest.raises(InputError, match="adapter_names"):
        model(tokens(), adapter_names=["default", "other"])
    with pytest.raises(InputError, match="adapter_names"):
        model.generate(tokens(), adapter_names=["default", "other"])


def test_natively_in_transformers(tmp_path: Path) -> None:
    expected = logits(tuned_model(NeuralTuningConfig(d_z=16)))
    model = base_model()
    model.add_adapter(NeuralTuningConfig(d_z=16), adapter_name="default")
    randomize(model)
    assert torch.equal(logits(model), expected)
    model.save_pretrained(str(tmp_path))
    loaded = base_model()
    loaded.load_adapter(str(tmp_path), adapter_name="mine")
    assert torch.equal(logits(loaded), expected)
    loaded.disable_adapters()
    assert torch.equal(logits(loaded), logits(base_model()))
    loaded.enable_adapters()
    loaded.add_adapter(NeuralTuningConfig(d_z=8), adapter_name="second")
    loaded.set_adapter("mine")
    assert torch.equal(logits(loaded), expected)
    assert torch.equal(logits(copy.deepcopy(loaded)), expected)
    loaded.delete_adapter("mine")
    loaded.delete_adapter("second")
    assert torch.equal(logits(loaded), logits(base_model()))


def test_natively_transformers_reports_what_does_not_fit(tmp_path: Path) -> None:
    """It checks by itself, after injecting: what is missing or surplus is in the report, another size is refused."""
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    one = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != one}, file)
    report = base_model().load_adapter(str(tmp_path))
    assert [one.removeprefix("base_model.model.").removesuffix(".weight") in key for key in report.missing_keys] == [
        True
    ]
    save_file({**weights, one.replace("layers.0", "layers.9"): weights[one].clone()}, file)
    assert [("layers.9" in key) for key in base_model().load_adapter(str(tmp_path)).unexpected_keys] == [True]
    save_file({**weights, one: weights[one][:8].clone()}, file)
    with pytest.raises(RuntimeError, match="mismatched"):
        base_model().load_adapter(str(tmp_path))


def test_without_the_package_peft_says_that_it_does_not_know_the_method(tmp_path: Path) -> None:
    """As docs/neural-tuning.md says; importing the package is the remedy."""
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    code = f"from peft import PeftConfig; PeftConfig.from_pretrained({str(tmp_path)!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    without = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert without.returncode != 0
    assert "NEURAL_TUNING" in without.stderr
    with_it = subprocess.run(
        [sys.executable, "-c", f"import neuraltuning.tuners; {code}"], capture_output=True, text=True, env=environment
    )
    assert with_it.returncode == 0, with_it.stderr


def test_injected_without_a_peft_model() -> None:
    model = inject_adapter_in_model(NeuralTuningConfig(d_z=16), base_model())
    randomize(model)
    assert torch.equal(logits(model), logits(tuned_model(NeuralTuningConfig(d_z=16))))
    assert len(get_peft_model_state_dict(model)) == 8


def test_a_file_with_missing_surplus_or_foreign_parameters(tmp_path: Path) -> None:
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    one = sorted(weights)[0]

    save_file({key: value for key, value in weights.items() if key != one}, file)
    with pytest.raises(InputError, match="lacks parameters") as caught:
        PeftModel.from_pretrained(base_model(), str(tmp_path))
    assert one.removesuffix(".weight") in str(caught.value)

    save_file({**weights, one.replace("layers.0", "layers.9"): weights[one].clone()}, file)
    with pytest.raises(InputError, match="no place for"):
        PeftModel.from_pretrained(base_model(), str(tmp_path))

    save_file({**weights, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(InputError, match="no place for") as caught:
        PeftModel.from_pretrained(base_model(), str(tmp_path))
    assert "lora_A" in str(caught.value)

    other = {key: value[:8].clone() if "_down" in key else value[:, :8].clone() for key, value in weights.items()}
    save_file(other, file)
    with pytest.raises(InputError, match="another d_z"):
        PeftModel.from_pretrained(base_model(), str(tmp_path))

    save_file(weights, file)
    with pytest.raises(InputError, match="another width"):
        PeftModel.from_pretrained(base_model(hidden_size=48), str(tmp_path))
    with pytest.raises(InputError, match="no place for"):
        PeftModel.from_pretrained(base_model(num_hidden_layers=2), str(tmp_path))
    with pytest.raises(InputError, match="lacks parameters"):
        PeftModel.from_pretrained(base_model(num_hidden_layers=5), str(tmp_path))


def test_gradient_checkpointing_leaves_no_trace_of_a_failed_forward() -> None:
    """No state outlives a call: one that breaks midway does not disturb the next."""
    model = tuned_model()
    expected = logits(model)
    last = model.base_model.model.model.layers[-1]

    def fail(*args: object) -> None:
        raise RuntimeError("midway")

    handle = last.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="midway"):
        logits(model)
    handle.remove()
    assert torch.equal(logits(model), expected)


def test_transformers_trainer(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    model = get_peft_model(base_model(), NeuralTuningConfig(d_z=16, task_type="CAUSAL_LM"))
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=0.01,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_steps=3,
    )
    rows = [{"input_ids": row, "labels": row} for row in tokens(4)]
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    assert layers_of(model)[0].neural_tuning_up["default"].weight.abs().sum() > 0
    loaded = PeftModel.from_pretrained(base_model(), str(tmp_path / "checkpoint-3"))
    assert torch.allclose(logits(loaded), logits(model.eval()), atol=1e-6)
