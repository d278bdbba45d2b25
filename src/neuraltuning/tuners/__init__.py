"""Tuning methods for frozen LLMs, as methods of peft. Importing this package registers ours with peft."""

from neuraltuning.tuners.by_name import METHODS, count_parameters, tuner_config
from neuraltuning.tuners.neural import (
    ActivationRecord,
    NeuralTuningConfig,
    NeuralTuningLayer,
    NeuralTuningModel,
    record_activations,
)

__all__ = [
    "METHODS",
    "ActivationRecord",
    "NeuralTuningConfig",
    "NeuralTuningLayer",
    "NeuralTuningModel",
    "count_parameters",
    "record_activations",
    "tuner_config",
]
