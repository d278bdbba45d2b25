"""The settings of neural tuning, checked when they are made.

Knows nothing about any model: what can only be checked against one (layer numbers, widths) is checked in `model.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from peft.config import PeftConfig
from peft.utils import SAFETENSORS_WEIGHTS_NAME

from neuraltuning.errors import InputError
from neuraltuning.tuners.registration import peft_type_member

METHOD = "neural_tuning"

Targets = Literal["qv", "kv", "qkv", "q", "v"]
ActivationPattern = Literal["gaussian", "top2beta_random", "level_random", "distribution_random", "all"]
KeptValues = Literal["value", "excess"]
SampleRatePer = Literal["layer", "token"]


@dataclass
class NeuralTuningConfig(PeftConfig):
    """Configuration of [`NeuralTuningModel`]: a sparse task network beside a frozen decoder-only LLM.

    Source: "Multitask and Multimodal Neural Tuning for Large Models" (preprint), section 3.1, eq. 1-5, and its journal
    version "One Framework to Rule Them All", sections 3.2 and 5.5.

    Raises:
        InputError: a setting is outside its range; the sentence names the setting and the value received.
    """

    d_z: int = field(default=128, metadata={"help": "Size of the sparse vector Z (eq. 1), per token."})
    alpha: float = field(
        default=0.9, metadata={"help": "Share of the previous layer's vector in the carry over layers (eq. 2), [0, 1]."}
    )
    beta: float = field(
        default=0.4, metadata={"help": "Mean share of active neurons (eq. 3), in (0, 1]; the share at evaluation."}
    )
    fluctuation: float = field(
        default=0.1,
        metadata={"help": "Standard deviation of the share of active neurons in training, as a share of beta."},
    )
    targets: str = field(
        default="qv",
        metadata={"help": "Which projections the network adds to (eq. 5): 'qv', 'kv', 'qkv', 'q' or 'v'."},
    )
    activation_pattern: str = field(
        default="gaussian",
        metadata={
            "help": "Which neurons stay active: 'gaussian' (the largest), 'top2beta_random' (a random half of the "
            "2 beta largest), 'level_random' (a random share of each of ten sorted levels), 'distribution_random' "
            "(the nearest to distribution_center), 'all' (no sparsity)."
        },
    )
    distribution_center: float = field(
        default=0.0, metadata={"help": "The m of 'distribution_random'; the paper tries 0 and 1."}
    )
    carry: bool = field(default=True, metadata={"help": "Whether the vector travels from layer to layer (eq. 2)."})
    norm_after_carry: bool = field(
        default=False,
        metadata={"help": "RMS-normalize the carried vector before the activation; the normed vector travels on."},
    )
    kept_values: str = field(
        default="value",
        metadata={"help": "What an active neuron passes on: its 'value' or its 'excess' over the largest dropped one."},
    )
    dropout: float = field(default=0.0, metadata={"help": "Dropout on the activated vector, in [0, 1)."})
    sample_rate_per: str = field(
        default="layer", metadata={"help": "Draw the share of active neurons once per 'layer' or for each 'token'."}
    )
    first_layer: int | float = field(
        default=0,
        metadata={"help": "First tuned layer: a layer number (int) or a share of the model's depth (float in (0, 1))."},
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "The layers to tune; all of them (from first_layer on) where not given."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None,
        metadata={"help": "Name of the list of layers, for models where it can't be told ('h', 'layers')."},
    )
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "The attention modules to tune: names, a regular expression, or None for the family's default."
        },
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Attention modules to leave alone: names or a regular expression."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules beside the adapter to train and save as a whole, for example a head."}
    )
    init_weights: bool = field(
        default=True,
        metadata={"help": "True: W_b starts at zero and the model unchanged. False: random W_b (for tests)."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type_member(METHOD)
        # not a field, because it is no setting
        self.weights_file: Path | None = None
        _require_names("target_modules", self.target_modules)
        _require_names("exclude_modules", self.exclude_modules)
        _require_names("layers_pattern", self.layers_pattern)
        if isinstance(self.modules_to_save, str):
            raise InputError(f"modules_to_save must be a list of names, got {self.modules_to_save!r}.")
        _require_names("modules_to_save", self.modules_to_save)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)  # type: ignore[assignment]
        if isinstance(self.d_z, bool) or not isinstance(self.d_z, int) or self.d_z < 1:
            raise InputError(f"d_z must be a whole number of at least 1, got {self.d_z!r}.")
        _require_number("alpha", self.alpha, "in [0, 1]", lambda v: 0 <= v <= 1)
        _require_number("beta", self.beta, "in (0, 1]", lambda v: 0 < v <= 1)
        _require_number("fluctuation", self.fluctuation, "0 or more", lambda v: v >= 0)
        _require_number("dropout", self.dropout, "in [0, 1)", lambda v: 0 <= v < 1)
        _require_number("distribution_center", self.distribution_center, "a finite number", lambda v: True)
        _require_choice("targets", self.targets, get_args(Targets))
        _require_choice("activation_pattern", self.activation_pattern, get_args(ActivationPattern))
        _require_choice("kept_values", self.kept_values, get_args(KeptValues))
        _require_choice("sample_rate_per", self.sample_rate_per, get_args(SampleRatePer))
        for name in ("carry", "norm_after_carry", "init_weights"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        self._check_layers()

    def _check_layers(self) -> None:
        first = self.first_layer
        in_range = 0 <= first < 1 if isinstance(first, float) else isinstance(first, int) and first >= 0
        if isinstance(first, bool) or not in_range:
            raise InputError(
                f"first_layer must be a layer number (an int from 0) or a share of the depth (a float in [0, 1)), "
                f"got {first!r}."
            )
        layers = self.layers_to_transform
        if layers is None:
            return
        if first != 0:
            raise InputError(
                f"Set either layers_to_transform (got {layers!r}) or first_layer (got {first!r}), not both."
            )
        if not isinstance(layers, (int, list, tuple, set)):
            raise InputError(f"layers_to_transform must be a layer number or a list of them, got {layers!r}.")
        numbers = [layers] if isinstance(layers, int) else list(layers)
        if not numbers:
            raise InputError("layers_to_transform is empty: name at least one layer, or leave it out to tune all.")
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise InputError(f"layers_to_transform must hold layer numbers (ints from 0), got {number!r}.")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str, subfolder: str | None = None, **kwargs: Any
    ) -> NeuralTuningConfig:
        """peft's, which also notes where the weights lie, so that they can be checked against the model.

        Only in a folder, not on the Hub.
        """
        config = super().from_pretrained(pretrained_model_name_or_path, subfolder, **kwargs)
        config.weights_file = Path(pretrained_model_name_or_path, subfolder or "", SAFETENSORS_WEIGHTS_NAME)
        return config

    @classmethod
    def released_code(cls, **settings: Any) -> NeuralTuningConfig:
        """The variant that the papers' released code runs, which differs from the text in four places.

        The carried vector is RMS-normed, an active neuron passes on its excess over the largest dropped one, the first
        tuned layer lies at half depth (16 of 32), and alpha is 0.2.

        Args:
            settings: further settings, which win over the preset's.
        """
        preset: dict[str, Any] = {
            "norm_after_carry": True,
            "kept_values": "excess",
            "first_layer": 0.5,
            "alpha": 0.2,
        }
        return cls(**{**preset, **settings})


def _require_number(name: str, value: Any, wanted: str, valid: Callable[[float], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not valid(value):
        raise InputError(f"{name} must be {wanted}, got {value!r}.")


def _require_names(name: str, value: Any) -> None:
    """Names of modules: a list of them, or a regular expression."""
    if value is None:
        return
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise InputError(f"{name} is no regular expression ({error}), got {value!r}.") from error
    elif not isinstance(value, (list, tuple, set)) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{name} must be a list of names or a regular expression, got {value!r}.")


def _require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
