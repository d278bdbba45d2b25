"""Choosing a tuning method by name: ours, and those of peft that it is compared with.

Knows the methods' configuration classes; knows nothing about training or tasks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PrefixTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from neuraltuning.errors import InputError
from neuraltuning.tuners.neural import NeuralTuningConfig

METHODS: dict[str, type[PeftConfig]] = {
    "neural_tuning": NeuralTuningConfig,
    "lora": LoraConfig,
    "prefix_tuning": PrefixTuningConfig,
    "ia3": IA3Config,
}

# The setting that a method's number of parameters grows linearly with; IA3 has none.
SIZES = {"neural_tuning": "d_z", "lora": "r", "prefix_tuning": "num_virtual_tokens"}

DEFAULTS: dict[str, dict[str, Any]] = {"prefix_tuning": {"num_virtual_tokens": 20}}


def tuner_config(
    name: str,
    *,
    match_parameters: int | PeftConfig | None = None,
    model: PreTrainedModel | PretrainedConfig | None = None,
    **settings: Any,
) -> PeftConfig:
    """The configuration of the method called `name`, to be given to `peft.get_peft_model`.

    Args:
        name: "neural_tuning", "lora", "prefix_tuning" or "ia3".
        match_parameters: choose the method's size (d_z, r or the number of virtual tokens) so that it has as many
            trainable parameters as this, or as near as a whole number allows: a number, or another method's
            configuration.
        model: the LLM or its configuration; needed by `match_parameters` alone.
        settings: fields of the method's configuration class; `task_type` is "CAUSAL_LM" where not given.

    Raises:
        InputError: an unknown method or setting, a value that the method refuses, or a method whose size can't be
            chosen.
    """
    if name not in METHODS:
        raise InputError(f"There is no tuning method named {name!r}; choose one of {', '.join(METHODS)}.")
    if match_parameters is not None:
        settings = {**settings, **_matched_size(name, match_parameters, model, settings)}
    return _build(name, settings)


def count_parameters(config: PeftConfig, model: PreTrainedModel | PretrainedConfig) -> int:
    """The number of trainable parameters that `config` adds to `model`, found without weights (on the meta device)."""
    model_config = model.config if isinstance(model, PreTrainedModel) else model
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(model_config)
        # peft completes a configuration for the model that it meets, and this one is the caller's
        tuned = get_peft_model(base, dataclasses.replace(config))
    return sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)


def _build(name: str, settings: dict[str, Any]) -> PeftConfig:
    config_class = METHODS[name]
    known = {field.name for field in dataclasses.fields(config_class) if field.init}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InputError(
            f"{name} has no setting named {', '.join(map(repr, unknown))}. Its settings: {', '.join(sorted(known))}."
        )
    size = SIZES.get(name)
    if size in settings and (not isinstance(settings[size], int) or settings[size] < 1):
        raise InputError(f"{size} of {name} must be a whole number of at least 1, got {settings[size]!r}.")
    try:
        return config_class(**{"task_type": TaskType.CAUSAL_LM, **DEFAULTS.get(name, {}), **settings})
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"peft refuses the settings of {name}: {error}") from error


def _matched_size(
    name: str,
    wanted: int | PeftConfig,
    model: PreTrainedModel | PretrainedConfig | None,
    settings: dict[str, Any],
) -> dict[str, int]:
    if name not in SIZES:
        raise InputError(
            f"The number of parameters of {name} can't be chosen, so match_parameters does not apply to it; methods "
            f"that it applies to: {', '.join(SIZES)}."
        )
    if SIZES[name] in settings:
        raise InputError(f"Set either {SIZES[name]} or match_parameters, not both.")
    if model is None:
        raise InputError("match_parameters needs the model, or its configuration, as model=.")
    target = count_parameters(wanted, model) if isinstance(wanted, PeftConfig) else wanted
    if isinstance(target, bool) or not isinstance(target, int) or target < 1:
        raise InputError(f"match_parameters must be a number of parameters or a peft configuration, got {wanted!r}.")
    # two sizes, because other settings may add a constant: modules_to_save, biases, DoRA's magnitudes
    one, two = (count_parameters(_build(name, {**settings, SIZES[name]: size}), model) for size in (1, 2))
    return {SIZES[name]: max(1, 1 + round((target - one) / (two - one)))}
