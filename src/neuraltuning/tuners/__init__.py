"""Tuning methods for frozen LLMs, as methods of peft. Importing this package registers ours with peft."""

from neuraltuning.tuners.by_name import count_parameters, tuner_config
from neuraltuning.tuners.neural import NeuralTuningConfig, NeuralTuningLayer, NeuralTuningModel

__all__ = ["NeuralTuningConfig", "NeuralTuningLayer", "NeuralTuningModel", "count_parameters", "tuner_config"]
