"""The sparse task network of one decoder layer, wrapped around that layer's attention module.

Source: "Multitask and Multimodal Neural Tuning for Large Models" (preprint), section 3.1, eq. 1-5. Knows nothing about
how layers are found and numbered (`model.py`) and nothing about tasks.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.utils.hooks import RemovableHandle

from neuraltuning.errors import InputError, RunError
from neuraltuning.tuners.neural import activation
from neuraltuning.tuners.neural.config import NeuralTuningConfig
from neuraltuning.tuners.neural.projections import Projection, find_projections
from neuraltuning.tuners.neural.tape import TAPE_KEYWORD, Tape

# What the attention module that is being run adds to its projections. One slot a thread: several threads may generate
# with one model at once. The slot lives while the attention module runs, so that nested calls can't meet it.
_running = threading.local()

NORM_EPSILON = 1e-6


@dataclass
class Plan:
    """What an adapter does in one layer: the configuration, resolved.

    Attributes:
        config: the adapter's settings.
        layer: the number of the decoder layer; -1 until the model has numbered its layers.
        position: place in the chain of tuned layers, from 0; -1 until then.
        widths: per projection of the attention module, how many rows of W_b belong to it (0: left alone).
        eval_count: the number of active neurons at evaluation.
    """

    config: NeuralTuningConfig
    layer: int
    position: int
    widths: list[int]
    eval_count: int


class NeuralTuningLayer(nn.Module, BaseTunerLayer):
    """An attention module with sparse task networks beside it, one for each adapter.

    Parameters of an adapter, each in a dictionary keyed by the adapter's name:
        `neural_tuning_down`: W_z, (d_z, D), no bias.
        `neural_tuning_up`: W_b, (sum of the output sizes of the tuned projections, d_z), no bias, starts at zero.
        `neural_tuning_norm`: the scale of the RMSNorm, (d_z,), only with `norm_after_carry`.
    """

    adapter_layer_names = ("neural_tuning_down", "neural_tuning_up", "neural_tuning_norm")
    other_param_names = ("neural_tuning_dropout", "neural_tuning_plan")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: NeuralTuningConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.projections: list[Projection] = find_projections(base_layer)
        self.in_features = self.out_features = self.projections[0].in_features
        self.neural_tuning_down = nn.ModuleDict()
        self.neural_tuning_up = nn.ModuleDict()
        self.neural_tuning_norm = nn.ModuleDict()
        self.neural_tuning_dropout = nn.ModuleDict()
        self.neural_tuning_plan: dict[str, Plan] = {}
        self._disable_adapters = False
        self._contiguous = not any(projection.interleaved_heads for projection in self.projections)
        self.merged_adapters = []
        self._handles: dict[int, RemovableHandle] = {}
        self.update_layer(adapter_name, config)
        self.train(base_layer.training)

    def update_layer(self, adapter_name: str, config: NeuralTuningConfig) -> None:
        """Adds the adapter `adapter_name`.

        Raises:
            InputError: d_z is larger than the hidden size.
        """
        if config.d_z > self.in_features:
            raise InputError(
                f"d_z must be at most the model's hidden size, which is {self.in_features}, got {config.d_z}."
            )
        widths = [projection.width_of(config.targets) for projection in self.projections]
        down = nn.Linear(self.in_features, config.d_z, bias=False)
        up = nn.Linear(config.d_z, sum(widths), bias=False)
        if config.init_weights:
            nn.init.zeros_(up.weight)
        self.neural_tuning_down[adapter_name] = down
        self.neural_tuning_up[adapter_name] = up
        if config.norm_after_carry:
            self.neural_tuning_norm[adapter_name] = nn.RMSNorm(config.d_z, eps=NORM_EPSILON)
        if config.dropout:
            self.neural_tuning_dropout[adapter_name] = nn.Dropout(config.dropout).train(self.training)
        hooks = (self._add_to_first, self._add_to_second, self._add_to_third)
        for index, width in enumerate(widths):
            if width and index not in self._handles:
                projection = getattr(self.base_layer, self.projections[index].name)
                self._handles[index] = projection.register_forward_hook(hooks[index])
        count = config.d_z if config.activation_pattern == "all" else activation.active_count(config.beta, config.d_z)
        self.neural_tuning_plan[adapter_name] = Plan(config, -1, -1, widths, count)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # peft looks for the weight of the base layer, and an attention module has none of its own
        projection = getattr(self.base_layer, self.projections[0].name)
        found_device, dtype = self._get_base_layer_device_and_dtype(
            projection.get_base_layer() if isinstance(projection, BaseTunerLayer) else projection
        )
        if dtype is not None and not dtype.is_floating_point:
            dtype = None
        for name in self.adapter_layer_names:
            modules = getattr(self, name)
            if adapter_name in modules and not any(p.is_meta for p in modules[adapter_name].parameters()):
                modules[adapter_name].to(device=device or found_device, dtype=dtype)

    def detach_from_base_layer(self) -> None:
        """Removes the hooks from the attention module's projections, when the adapter is unloaded."""
        for handle in self._handles.values():
            handle.remove()

    def __getattr__(self, name: str) -> Any:
        # decoder layers read attributes of their attention module, for example `is_sliding`
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise NotImplementedError(merge_refusal())

    def unmerge(self) -> None:
        warnings.warn("Neural tuning adapters are never merged, so there is nothing to unmerge.", stacklevel=2)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the attention module with the active adapters' additions to its projections (eq. 5)."""
        tape: Tape | None = kwargs.pop(TAPE_KEYWORD, None)
        additions = []
        if not self._disable_adapters:
            for name in self.active_adapters:
                plan = self.neural_tuning_plan.get(name)
                if plan is not None:
                    hidden = args[0] if args else kwargs["hidden_states"]
                    additions.append(self._run_network(name, plan, hidden, tape))
        if not additions:
            return self.base_layer(*args, **kwargs)
        outer = getattr(_running, "additions", None)
        _running.additions = (self, additions)
        try:
            return self.base_layer(*args, **kwargs)
        finally:
            _running.additions = outer

    def _weight(self, kind: str, name: str) -> torch.Tensor:
        # past the slow attribute access of modules, because decoding comes by here once a token
        return self._modules[kind]._modules[name]._parameters["weight"]  # type: ignore[union-attr, return-value]

    def _run_network(
        self, name: str, plan: Plan, hidden: torch.Tensor, tape: Tape | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Plan]:
        """Eq. 1-3 for one adapter: Za, (B * T, d_z), W_b's rows for each projection, and the plan."""
        if tape is None:
            raise RunError(
                f"Neural tuning's state did not reach {type(self.base_layer).__name__}: call the model or its decoder, "
                "not a decoder layer, and make sure that the model hands keyword arguments down to its attention."
            )
        if tape.grad_enabled and not torch.is_grad_enabled():
            raise RunError(
                "Reentrant gradient checkpointing gives wrong gradients with neural tuning. Call "
                'gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False}), or give '
                "the same gradient_checkpointing_kwargs to the training arguments."
            )
        config = plan.config
        weight = self._weight("neural_tuning_down", name)
        shape = hidden.shape
        hidden = hidden.reshape(-1, shape[-1])
        if hidden.dtype != weight.dtype:
            hidden = hidden.to(weight.dtype)
        key = (name, plan.position)
        vector = F.linear(hidden, weight)
        if config.carry and plan.position > 0:
            previous = tape.rows[name, plan.position - 1]
            if previous.device != weight.device:  # the layers are spread over several devices
                previous = previous.to(weight.device)
            # not one addmm with beta and alpha, whose gradient goes over the hidden states once more to scale them
            vector = torch.lerp(vector, previous, config.alpha)
        if config.norm_after_carry:
            scale = self._weight("neural_tuning_norm", name).to(vector.dtype)
            vector = F.rms_norm(vector, (config.d_z,), scale, NORM_EPSILON)
        tape.rows.setdefault(key, vector)
        activated = self._activate(key, plan, vector, tape)
        if tape.record is not None:
            tape.record.add(name, plan.layer, activated, shape)
        if config.dropout:
            activated = self.neural_tuning_dropout[name](activated)
        return activated, self._weight("neural_tuning_up", name).split_with_sizes(plan.widths), plan

    def _activate(self, key: tuple[str, int], plan: Plan, vector: torch.Tensor, tape: Tape) -> torch.Tensor:
        """Eq. 3: Za of Zu."""
        config = plan.config
        pattern = config.activation_pattern
        if pattern == "all":
            return vector
        if not self.training or not config.fluctuation:
            count: int | torch.Tensor = plan.eval_count
        else:
            # drawn in a recomputation too, so that the dropouts behind it meet the generator in the same state
            count = tape.counts.setdefault(key, self._draw_count(config, vector))
        if pattern == "gaussian" and config.kept_values == "value":
            return activation.keep_largest(vector, count)
        if pattern == "gaussian":
            mask = activation.largest(vector, count)
        elif pattern == "distribution_random":
            mask = activation.largest(-(vector.detach() - config.distribution_center).abs(), count)
        elif pattern == "level_random":
            mask = activation.level_random(vector, count, self.training)
        else:
            candidates = min(config.d_z, 2 * count) if isinstance(count, int) else (2 * count).clamp(max=config.d_z)
            mask = activation.top2beta_random(vector, count, candidates, self.training)
        if config.kept_values == "excess":
            return activation.excess_over_dropped(vector, mask)
        return vector * mask

    @staticmethod
    def _draw_count(config: NeuralTuningConfig, vector: torch.Tensor) -> int | torch.Tensor:
        if config.sample_rate_per == "token":
            shape: tuple[int, ...] = (len(vector), 1)
        elif torch.compiler.is_compiling():
            shape = ()
        else:
            return activation.active_count(activation.draw_rate(config.beta, config.fluctuation), config.d_z)
        return activation.draw_counts(config.beta, config.fluctuation, config.d_z, shape, vector.device)

    # One hook for each projection rather than one closure with its number: a model with closures as hooks can't be
    # deep-copied.
    def _add_to_first(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return self._add(0, output)

    def _add_to_second(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return self._add(1, output)

    def _add_to_third(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return self._add(2, output)

    def _add(self, index: int, output: torch.Tensor) -> torch.Tensor:
        """Eq. 4 and 5 for one projection: its output plus its part of W_b Za."""
        running = getattr(_running, "additions", None)
        if running is None or running[0] is not self:
            return output
        for activated, weights, plan in running[1]:
            width = plan.widths[index]
            if not width:
                continue
            weight = weights[index]
            # where the parts lie as the addition has them and the number formats agree, one product also adds
            if width == output.shape[-1] and self._contiguous and output.dtype == activated.dtype == weight.dtype:
                if output.is_contiguous() and not torch.is_grad_enabled():
                    output.view(-1, width).addmm_(activated, weight.t())
                else:
                    output = torch.addmm(output.reshape(-1, width), activated, weight.t()).view(output.shape)
            else:
                addition = self.projections[index].spread(activated @ weight.t(), plan.config.targets)
                output = output + addition.view(output.shape).to(output.dtype)
        return output


def parameter_shapes(base_layer: nn.Module, config: NeuralTuningConfig) -> dict[str, tuple[int, ...]]:
    """The parameters that an adapter has beside the attention module `base_layer`, named as in the adapter's file."""
    projections = find_projections(base_layer)
    rows = sum(projection.width_of(config.targets) for projection in projections)
    shapes: dict[str, tuple[int, ...]] = {
        "neural_tuning_down.weight": (config.d_z, projections[0].in_features),
        "neural_tuning_up.weight": (rows, config.d_z),
    }
    if config.norm_after_carry:
        shapes["neural_tuning_norm.weight"] = (config.d_z,)
    return shapes


def merge_refusal() -> str:
    """Why merging is impossible."""
    return (
        "A neural tuning adapter can't be merged into the base weights: which neurons are active depends on the input, "
        "so that what it adds is not a linear function of the hidden states. Keep the adapter loaded, or unload() it."
    )
