"""Neural tuning: the sparse task network as a peft method."""

from neuraltuning.tuners.native_loading import watch_load_adapter
from neuraltuning.tuners.neural.config import METHOD, NeuralTuningConfig
from neuraltuning.tuners.neural.layer import NeuralTuningLayer
from neuraltuning.tuners.neural.model import NeuralTuningModel
from neuraltuning.tuners.neural.recording import ActivationRecord, record_activations
from neuraltuning.tuners.registration import register

register(METHOD, NeuralTuningConfig, NeuralTuningModel)
watch_load_adapter()

__all__ = [
    "ActivationRecord",
    "NeuralTuningConfig",
    "NeuralTuningLayer",
    "NeuralTuningModel",
    "record_activations",
]
