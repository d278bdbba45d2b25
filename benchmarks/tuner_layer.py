"""What neural tuning and LoRA add to one layer's projections, without the rest of the model.

    python benchmarks/tuner_layer.py --hidden 2048 --tokens 512

A step of the whole model takes seconds on a shared machine; one layer takes milliseconds, and the fastest of many
rounds repeats. Each method runs over a chain of layers that compute query, key and value and nothing
else. Printed, in microseconds a layer: the projections alone, and what each method adds to them; "products" are the two
matrix products of neural tuning and nothing else, the floor.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from peft import inject_adapter_in_model
from torch import nn

from neuraltuning.tuners import NeuralTuningConfig, tuner_config


class Projections(nn.Module):
    """Query, key and value as a Llama's attention module names them; their sum stands for what comes after."""

    def __init__(self, hidden: int, key_value: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, key_value, bias=False)
        self.v_proj = nn.Linear(hidden, key_value, bias=False)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return self.q_proj(hidden_states), self.k_proj(hidden_states), self.v_proj(hidden_states)


class Products(nn.Module):
    """Projections with the two products that neural tuning can't do without: no carry, no selection, no wrapper."""

    def __init__(self, projections: Projections, d_z: int = 128) -> None:
        super().__init__()
        self.projections = projections
        hidden = projections.q_proj.in_features
        self.down = nn.Parameter(torch.randn(d_z, hidden) * hidden**-0.5)
        self.query = nn.Parameter(torch.zeros(projections.q_proj.out_features, d_z))
        self.value = nn.Parameter(torch.zeros(projections.v_proj.out_features, d_z))

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        query, key, value = self.projections(hidden_states)
        vector = hidden_states.flatten(0, -2) @ self.down.T
        query, value = (
            torch.addmm(part.flatten(0, -2), vector, weight.T).view(part.shape)
            for part, weight in ((query, self.query), (value, self.value))
        )
        return query, key, value


class Layer(nn.Module):
    def __init__(self, hidden: int, key_value: int) -> None:
        super().__init__()
        self.self_attn = Projections(hidden, key_value)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return self.self_attn(hidden_states, **kwargs)


class Chain(nn.Module):
    """Layers that all read the same input, so that nothing but projections is timed."""

    def __init__(self, layers: int, hidden: int, key_value: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(hidden, key_value) for _ in range(layers))

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> list[tuple[torch.Tensor, ...]]:
        return [layer(hidden_states, **kwargs) for layer in self.layers]


def build(method: str, arguments: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    chain = Chain(arguments.layers, arguments.hidden, arguments.key_value).requires_grad_(False)
    if method == "neural_tuning":
        return inject_adapter_in_model(NeuralTuningConfig(target_modules=["self_attn"]), chain)
    if method == "lora":
        parameters = 128 * (2 * arguments.hidden + arguments.key_value)
        rank = round(parameters / (3 * arguments.hidden + arguments.key_value))
        return inject_adapter_in_model(tuner_config("lora", r=rank, target_modules=["q_proj", "v_proj"]), chain)
    if method == "products":
        for layer in chain.layers:
            layer.self_attn = Products(layer.self_attn)
    return chain


def forward(chain: nn.Module, hidden: torch.Tensor) -> None:
    with torch.no_grad():
        chain(hidden)


def step(chain: nn.Module, hidden: torch.Tensor) -> None:
    outputs = [part for layer in chain(hidden.detach().requires_grad_()) for part in layer]
    torch.autograd.backward(outputs, [output.detach() for output in outputs])
    for parameter in chain.parameters():
        parameter.grad = None


def fastest(runs: Mapping[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """The least processor time of each, taking turns."""
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--key-value", type=int, help="width of key and value, the hidden size where not given")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=40, help="for each of the three measurements")
    arguments = parser.parse_args()
    arguments.key_value = arguments.key_value or arguments.hidden

    torch.set_num_threads(arguments.threads)
    torch.set_default_dtype(getattr(torch, arguments.dtype))
    chains = {method: build(method, arguments) for method in ("bare", "products", "neural_tuning", "lora")}
    many, one = (torch.randn(1, length, arguments.hidden) for length in (arguments.tokens, 1))
    result: dict[str, Any] = {"arguments": vars(arguments)}
    for name, run, hidden in (("step", step, many), ("prefill", forward, many), ("decode", forward, one)):
        for chain in chains.values():
            chain.train(name == "step")
        runs = {method: partial(run, chain, hidden) for method, chain in chains.items()}
        best = fastest(runs, arguments.seconds)
        bare = best.pop("bare")
        micro = 1e6 / arguments.layers
        added = {method: round((value - bare) * micro, 1) for method, value in best.items()}
        result[name] = {"projections": round(bare * micro, 1), **added}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
