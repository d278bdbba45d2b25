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
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

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


def without_one(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key != min(weights)}


def with_one_more(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**weights, min(weights).replace("layers.0", "layers.9"): weights[min(weights)].clone()}


def with_a_lora(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**weights, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 2)}


def half_as_wide(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value[:8].clone() if "_down" in key else value[:, :8].clone() for key, value in weights.items()}


def elsewhere(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.replace(".layers.", ".tower.layers."): value for key, value in weights.items()}


DAMAGE = [
    (without_one, {}, r"lacks parameters.*layers\.0\.self_attn\.neural_tuning_down\.weight"),
    (with_one_more, {}, r"no place for.*layers\.9\.self_attn\.neural_tuning_down\.weight"),
    (with_a_lora, {}, r"no place for.*q_proj\.lora_A\.weight"),
    (half_as_wide, {}, r"another d_z.*\(8, 32\) in the file and \(16, 32\) in this model"),
    (elsewhere, {}, "lacks parameters"),
    (dict, {"hidden_size": 48}, r"another width.*\(16, 32\) in the file and \(16, 48\) in this model"),
    (dict, {"num_hidden_layers": 2}, r"no place for.*layers\.2\."),
    (dict, {"num_hidden_layers": 5}, r"lacks parameters.*layers\.4\."),
]


@pytest.mark.parametrize("source", ["safetensors", "bin", "state dict"])
@pytest.mark.parametrize(("damage", "settings", "sentence"), DAMAGE)
def test_natively_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, source: str, damage: Callable[..., Any], settings: dict[str, Any], sentence: str
) -> None:
    """Before the model changes, which then takes an adapter that fits."""
    tuned = tuned_model(NeuralTuningConfig(d_z=16))
    tuned.save_pretrained(str(tmp_path))
    weights = damage(get_peft_model_state_dict(tuned))
    arguments: dict[str, Any] = {}
    if source == "safetensors":
        save_file(weights, tmp_path / "adapter_model.safetensors")
    elif source == "bin":
        (tmp_path / "adapter_model.safetensors").unlink()
        torch.save(weights, tmp_path / "adapter_model.bin")
    else:
        arguments["adapter_state_dict"] = weights
    model = base_model(**settings)
    before, keys = logits(model), list(model.state_dict())
    with pytest.raises(InputError, match=sentence):
        model.load_adapter(str(tmp_path), **arguments)
    assert torch.equal(logits(model), before)
    assert list(model.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model._hf_peft_config_loaded
    assert not hasattr(model, "peft_config")
    fitting = tuned_model(NeuralTuningConfig(d_z=16), **settings)
    fitting.save_pretrained(str(tmp_path))
    report = model.load_adapter(str(tmp_path))
    assert not report.missing_keys and not report.unexpected_keys
    assert torch.equal(logits(model), logits(fitting))


def test_natively_a_refused_second_adapter_leaves_the_first(tmp_path: Path) -> None:
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    model = base_model()
    model.load_adapter(str(tmp_path), "first")
    expected, keys = logits(model), list(model.state_dict())
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    save_file(without_one(weights), file)
    with pytest.raises(InputError, match="lacks parameters"):
        model.load_adapter(str(tmp_path), "second")
    assert torch.equal(logits(model), expected)
    assert list(model.state_dict()) == keys
    assert list(model.peft_config) == model.active_adapters() == ["first"]
    save_file(weights, file)
    model.load_adapter(str(tmp_path), "second")
    model.set_adapter("second")
    assert torch.equal(logits(model), expected)


def test_natively_where_the_file_lies(tmp_path: Path) -> None:
    """In a subfolder, and beside a model that brings its adapter along."""
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path / "inner"))
    base_model().load_adapter(str(tmp_path), adapter_kwargs={"subfolder": "inner"})
    file = tmp_path / "inner" / "adapter_model.safetensors"
    save_file(without_one(load_file(file)), file)
    with pytest.raises(InputError, match="lacks parameters"):
        base_model().load_adapter(str(tmp_path), adapter_kwargs={"subfolder": "inner"})
    base_model().save_pretrained(str(tmp_path / "inner"))
    with pytest.raises(InputError, match="lacks parameters"):
        AutoModelForCausalLM.from_pretrained(str(tmp_path / "inner"))


def test_natively_into_the_bare_decoder(tmp_path: Path) -> None:
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    report = base_model().model.load_adapter(str(tmp_path))
    assert not report.missing_keys and not report.unexpected_keys


def test_natively_modules_to_save_are_checked_too(tmp_path: Path) -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, modules_to_save=["lm_head"]))
    with torch.no_grad():
        model.base_model.model.lm_head.weight.add_(0.5)
    model.save_pretrained(str(tmp_path))
    loaded = base_model()
    loaded.load_adapter(str(tmp_path))
    assert torch.equal(logits(loaded), logits(model))
    other = base_model(vocab_size=70)
    before = logits(other)
    with pytest.raises(InputError, match=r"lm_head\.weight is \(60, 32\) in the file and \(70, 32\) in this model"):
        other.load_adapter(str(tmp_path))
    assert torch.equal(logits(other), before)
    file = tmp_path / "adapter_model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if "lm_head" not in key}, file)
    fresh = base_model()
    with pytest.raises(InputError, match=r"lacks parameters of its modules_to_save, for example lm_head\.weight"):
        fresh.load_adapter(str(tmp_path))
    assert torch.equal(logits(fresh), logits(base_model()))


def test_a_configuration_read_from_a_folder_starts_a_new_adapter_in_another_model(tmp_path: Path) -> None:
    tuned_model(NeuralTuningConfig(d_z=16)).save_pretrained(str(tmp_path))
    for read in (PeftConfig.from_pretrained, NeuralTuningConfig.from_pretrained):
        get_peft_model(base_model(num_hidden_layers=2), read(str(tmp_path)))
        base_model(hidden_size=48).add_adapter(read(str(tmp_path)))


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
