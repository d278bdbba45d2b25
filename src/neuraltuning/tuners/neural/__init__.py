"""Neural tuning: the sparse task network as a peft method."""

from neuraltuning.tuners.neural.config import METHOD, NeuralTuningConfig
from neuraltuning.tuners.neural.layer import NeuralTuningLayer
from neuraltuning.tuners.neural.model import NeuralTuningModel
from neuraltuning.tuners.registration import register

register(METHOD, NeuralTuningConfig, NeuralTuningModel)

__all__ = ["NeuralTuningConfig", "NeuralTuningLayer", "NeuralTuningModel"]
