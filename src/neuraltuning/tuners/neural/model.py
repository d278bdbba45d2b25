"""Neural tuning of a whole decoder-only LLM: finding its attention modules, numbering them, refusing what can't work.

Knows nothing about tasks, images or training; what happens inside a layer is `layer.py`.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_target_module_exists
from torch import nn

from neuraltuning.errors import InputError
from neuraltuning.tuners.native_loading import SavedWeights, weights_being_loaded
from neuraltuning.tuners.neural.config import NeuralTuningConfig
from neuraltuning.tuners.neural.layer import NeuralTuningLayer, merge_refusal, parameter_shapes
from neuraltuning.tuners.neural.projections import find_projections
from neuraltuning.tuners.neural.tape import install_tape, remove_tape

# The families whose attention modules get keyword arguments handed down, with the names of those modules. Gemma 3 has a
# vision tower, too, which stays as it is.
FAMILIES: dict[str, str] = {
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "mixtral",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "phi3",
            "opt",
            "smollm3",
            "olmo2",
        ),
        r".*\.self_attn",
    ),
    "gemma3": r".*language_model.*\.self_attn",
    "gpt2": r".*\.attn",
    "gpt_neox": r".*\.attention",
}


_PEFT_PREFIX = "base_model.model."
"""What names of parameters begin with in a `PeftModel` and in a file, but not in a model that was injected into."""


class NeuralTuningModel(BaseTuner):
    """A decoder-only LLM with a sparse task network beside its tuned layers.

    Made by `peft.get_peft_model(model, NeuralTuningConfig())`. The base model stays frozen and, with
    `init_weights=True`, computes bit for bit what it did.

    Raises:
        InputError: the model or the settings don't fit; raised before anything is changed.
    """

    prefix = "neural_tuning_"
    tuner_layer_cls = NeuralTuningLayer
    target_module_mapping = FAMILIES  # type: ignore[assignment]

    def _prepare_adapter_config(self, peft_config: NeuralTuningConfig, model_config: dict) -> NeuralTuningConfig:
        if peft_config.target_modules is None:
            family = model_config.get("model_type")
            if family not in FAMILIES:
                raise InputError(
                    f"Neural tuning does not know the model family {family!r}. It knows {', '.join(sorted(FAMILIES))}; "
                    "for another decoder-only model name its attention modules in target_modules."
                )
            peft_config.target_modules = FAMILIES[family]
        return peft_config

    @staticmethod
    def _check_target_module_exists(peft_config: NeuralTuningConfig, key: str) -> Any:
        found = check_target_module_exists(peft_config, key)
        if not found or peft_config.layers_to_transform is None or not isinstance(peft_config.target_modules, str):
            return found
        # peft applies layers_to_transform to lists of names only
        wanted = peft_config.layers_to_transform
        return _layer_number(key, peft_config.layers_pattern) in ([wanted] if isinstance(wanted, int) else wanted)

    def _prepare_model(self, peft_config: NeuralTuningConfig, model: nn.Module) -> None:
        """Checks the settings against the model, before any module is replaced."""
        every_layer = copy.copy(peft_config)
        every_layer.layers_to_transform = None
        attention = {
            _plain(key): module
            for key, module in model.named_modules()
            if check_target_module_exists(every_layer, _plain(key)) and not _inside_adapter(key)
        }
        if not attention:
            raise InputError(
                f"target_modules={_shown(peft_config.target_modules)} matches no module of {type(model).__name__}."
            )
        lists = set()
        for key, module in attention.items():
            in_features = find_projections(_without_adapters(module))[0].in_features
            if peft_config.d_z > in_features:
                raise InputError(
                    f"d_z must be at most the hidden size of {type(model).__name__}, which is {in_features}, "
                    f"got {peft_config.d_z}."
                )
            layers_key, _ = _layers_and_owner(model, key)
            lists.add(layers_key)
            _require_keywords_reach(model, layers_key.rpartition(".")[0], key)
        if len(lists) != 1:
            raise InputError(
                f"Neural tuning carries its state along one list of layers, but "
                f"target_modules={_shown(peft_config.target_modules)} matches attention modules in several: "
                f"{', '.join(sorted(lists))}."
            )
        numbers = sorted({_layer_number(key, peft_config.layers_pattern) for key in attention})
        self._resolve_layers(peft_config, model, numbers)
        loading = weights_being_loaded()
        if loading is not None:
            expected = {
                f"{key}.{name}": shape
                for key, module in attention.items()
                if self._check_target_module_exists(peft_config, key)
                for name, shape in parameter_shapes(_without_adapters(module), peft_config).items()
            }
            _require_native_fit(loading, expected, model)
        _require_saved_modules(peft_config, model, loading or _weights_of(peft_config))

    @staticmethod
    def _resolve_layers(peft_config: NeuralTuningConfig, model: nn.Module, numbers: list[int]) -> None:
        depth = len(numbers)
        first = peft_config.first_layer
        if first:
            chosen = numbers[int(first * depth) :] if isinstance(first, float) else [n for n in numbers if n >= first]
            if not chosen:
                raise InputError(
                    f"first_layer is {first}, but the last of the {depth} tunable layers of {type(model).__name__} is "
                    f"number {numbers[-1]}."
                )
            peft_config.layers_to_transform = chosen
            peft_config.first_layer = 0
        wanted = peft_config.layers_to_transform
        if wanted is None:
            return
        missing = sorted({wanted} - set(numbers) if isinstance(wanted, int) else set(wanted) - set(numbers))
        if missing:
            raise InputError(
                f"layers_to_transform names layers that {type(model).__name__} does not have: {missing}; "
                f"its tunable layers are {numbers[0]} to {numbers[-1]}."
            )

    def _create_and_replace(
        self,
        peft_config: NeuralTuningConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, NeuralTuningLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = NeuralTuningLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            for name in layer.adapter_layer_names:
                getattr(layer, name).requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # peft's version reads the child's weight, and an attention module has none; on the way back (unload) the
        # child is our layer, whose hooks have to go
        if isinstance(child, NeuralTuningLayer):
            child.detach_from_base_layer()
        setattr(parent, child_name, new_module)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        # completing a configuration for this model must not change the caller's, who may use it for another one
        self.peft_config[adapter_name] = copy.copy(self.peft_config[adapter_name])
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        except InputError:
            # a model that has adapters already shares this table
            del self.peft_config[adapter_name]
            raise
        position = 0
        for key, module in model.named_modules():
            if isinstance(module, NeuralTuningLayer) and adapter_name in module.neural_tuning_plan:
                plan = module.neural_tuning_plan[adapter_name]
                plan.position = position
                plan.layer = _layer_number(key, plan.config.layers_pattern)
                if position == 0:
                    install_tape(_layers_and_owner(model, key)[1])
                position += 1

    def delete_adapter(self, adapter_name: str) -> None:
        super().delete_adapter(adapter_name)
        if not self.active_adapters and self.peft_config:
            # peft asks the first layer which adapter is left, and the first layer need not have the others
            self.set_adapter(min(self.peft_config))

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: NeuralTuningConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Also checks the file against the model: peft itself leaves missing parameters at their initial values.

        Raises:
            InputError: parameters are missing, surplus or of another size.
        """
        remapped = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        expected = {
            key: tuple(value.shape)
            for key, value in model.state_dict().items()
            if f".{cls.prefix}" in key and key.split(".")[-2] == adapter_name
        }
        given = {key: tuple(value.shape) for key, value in remapped.items() if f".{cls.prefix}" in key}
        own = {key.removeprefix(_PEFT_PREFIX) for key in model.state_dict()}
        foreign = {key for key in remapped if key not in given and key.removeprefix(_PEFT_PREFIX) not in own}
        _require_fit(expected, given, foreign)
        return remapped

    def _unload_and_optionally_merge(self, merge: bool = True, **kwargs: Any) -> Any:  # type: ignore[override]
        if merge:
            self._check_merge_allowed()
        for module in self.model.modules():
            remove_tape(module)
        return super()._unload_and_optionally_merge(merge=False, **kwargs)

    def _check_merge_allowed(self) -> None:
        raise NotImplementedError(merge_refusal())

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refused: see the sentence."""
        raise NotImplementedError(
            "Neural tuning adapters can't be combined by weighted sums of their parameters: which neurons are active "
            "depends on the input, so that the sum of two adapters' weights does not compute the sum of their effects."
        )

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("adapter_names") is not None:
            raise InputError(
                "Neural tuning does not support adapter_names (a different adapter for each sample of a batch): "
                "run one batch for each adapter and choose it with set_adapter."
            )
        yield


def _plain(key: str) -> str:
    """The name of a module as it was before adapters were injected."""
    return key.replace(".base_layer", "")


def _without_adapters(module: nn.Module) -> nn.Module:
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def _inside_adapter(key: str) -> bool:
    return ".base_layer" in key or ".neural_tuning_" in key


def _shown(target_modules: Any) -> str:
    return repr(target_modules if isinstance(target_modules, str) else sorted(target_modules))


def _layer_number(key: str, layers_pattern: list[str] | str | None) -> int:
    """The number of the layer that the module named `key` lies in.

    Raises:
        InputError: the name holds no number.
    """
    patterns = [layers_pattern] if isinstance(layers_pattern, str) else layers_pattern or [r"[^.]*"]
    for pattern in patterns:
        match = re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", key)
        if match:
            return int(match.group(1))
    raise InputError(f"The matched module {key!r} does not lie in a numbered list of layers.")


def _layers_and_owner(model: nn.Module, key: str) -> tuple[str, nn.Module]:
    """The name of the list of layers in which the module named `key` lies, and the module that owns the list."""
    parts = key.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if parts[end].isdigit() and isinstance(model.get_submodule(".".join(parts[:end])), nn.ModuleList):
            return ".".join(parts[:end]), model.get_submodule(".".join(parts[: end - 1]))
    raise InputError(f"The matched module {key!r} does not lie in a list of decoder layers.")


def _require_keywords_reach(model: nn.Module, owner_key: str, key: str) -> None:
    """Checks that arbitrary keyword arguments reach the attention module from the decoder.

    Raises:
        InputError: a module takes none or keeps them to itself, so that the state could not travel.
    """
    names = [owner_key] + [
        name
        for name in (".".join(key.split(".")[:end]) for end in range(1, key.count(".") + 2))
        if len(name) > len(owner_key) and not isinstance(model.get_submodule(name), nn.ModuleList)
    ]
    for name in names:
        module = model.get_submodule(name)
        while isinstance(module, BaseTunerLayer):
            module = module.get_base_layer()
        taken, used = _further_keywords(type(module).forward)
        if not taken or not (used or name == key):
            does = "hands no additional keyword arguments on" if taken else "takes no additional keyword arguments"
            raise InputError(
                f"Neural tuning can't work with {type(model).__name__}: {type(module).__name__} {does}, and neural "
                f"tuning's state travels from layer to layer in one. Families that work: {', '.join(sorted(FAMILIES))}."
            )


@functools.cache
def _further_keywords(forward: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether `forward` takes arbitrary keyword arguments, and whether it does anything with them."""
    function = inspect.unwrap(forward)
    kinds = {parameter.kind: name for name, parameter in inspect.signature(function).parameters.items()}
    keywords = kinds.get(inspect.Parameter.VAR_KEYWORD)
    if keywords is None:
        return False, False
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return True, True  # compiled code can't be read; the first call of the model tells
    tree = ast.parse(textwrap.dedent(source))
    return True, any(isinstance(node, ast.Name) and node.id == keywords for node in ast.walk(tree))


def _require_fit(expected: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]], foreign: set[str]) -> None:
    """Checks an adapter file against the model.

    Args:
        expected: the shapes of the adapter's parameters in the model.
        given: the same of the file.
        foreign: names of further parameters in the file that the model has no place for.

    Raises:
        InputError: parameters are missing, surplus or of another size.
    """
    problems = (
        ("lacks parameters that this model needs", expected.keys() - given.keys()),
        ("holds parameters that this model has no place for", (given.keys() - expected.keys()) | foreign),
    )
    for problem, keys in problems:
        if keys:
            raise InputError(
                f"The adapter file {problem}: {len(keys)} of them, for example {min(keys)}. It was made for other "
                "layers or with other settings; load it into the model and configuration that it was made for."
            )
    for key in sorted(expected):
        if given[key] != expected[key]:
            raise InputError(
                "The adapter file was made for a model of another width, or with another d_z or other targets: "
                f"{key} is {given[key]} in the file and {expected[key]} in this model."
            )


def _require_native_fit(weights: SavedWeights, expected: dict[str, tuple[int, ...]], model: nn.Module) -> None:
    """`_require_fit` for transformers' own `load_adapter`, which also loads between a model and its bare decoder.

    Raises:
        InputError: parameters are missing, surplus or of another size.
    """
    own = {_plain(name).replace(".original_module", ""): value for name, value in model.state_dict().items()}
    decoder = f"{getattr(model, 'base_model_prefix', '')}."
    wanted, given, foreign = dict(expected), {}, set()
    for key, shape in weights.shapes.items():
        name = key.removeprefix(_PEFT_PREFIX)
        names = (name, name.removeprefix(decoder), decoder + name)
        found = next((one for one in names if one in expected or one in own), None)
        if found is None:
            foreign.add(name)
            continue
        given[found] = shape
        if found not in expected:
            wanted[found] = tuple(own[found].shape)
    _require_fit(wanted, given, foreign)


def _weights_of(config: NeuralTuningConfig) -> SavedWeights | None:
    """The weights that lie beside the file that `config` was read from."""
    file = config.weights_file
    return SavedWeights.of_file(file) if config.modules_to_save and file is not None and file.is_file() else None


def _require_saved_modules(config: NeuralTuningConfig, model: nn.Module, weights: SavedWeights | None) -> None:
    """Checks that the file that the adapter comes from holds its `modules_to_save`.

    Raises:
        InputError: parameters are missing, where peft would stop with a bare KeyError.
    """
    if not config.modules_to_save or weights is None:
        return
    wanted = tuple(config.modules_to_save)
    for key, module in model.named_modules():
        if not key.endswith(wanted):
            continue
        for parameter in getattr(module, "original_module", module).state_dict():
            # the end of the name alone, because transformers may have renamed what encloses it
            if not any(name.endswith(f"{key}.{parameter}") for name in weights.shapes):
                raise InputError(
                    f"The adapter file lacks parameters of its modules_to_save, for example {key}.{parameter}: "
                    f"{weights.place}."
                )
