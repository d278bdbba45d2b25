"""Tuning methods for frozen LLMs, as methods of peft. Importing this package registers them with peft."""

from neuraltuning.tuners.neural import NeuralTuningConfig, NeuralTuningLayer, NeuralTuningModel

__all__ = ["NeuralTuningConfig", "NeuralTuningLayer", "NeuralTuningModel"]
