"""Time of neural tuning beside LoRA and the bare model: training step, prefill, decoding.

    python benchmarks/tuner_speed.py --shape llama-2048 --what step --dtype float32 --seconds 150

The methods take turns within one process, and each round gives one ratio of each pair, so that a busy machine slows all
of them alike; printed are the median ratio and its quartiles, and each method's median and fastest time in
milliseconds. `--clock cpu` counts processor time instead of wall time, which other processes disturb less. Knows
nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from tuner_models import METHODS, SHAPES, build, shape, training_step

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def prefill(model: Any, embeddings: torch.Tensor, clock: Any) -> float:
    start = clock()
    with torch.no_grad():
        model(inputs_embeds=embeddings, logits_to_keep=1)
    return clock() - start


def step(model: Any, embeddings: torch.Tensor, clock: Any) -> float:
    start = clock()
    training_step(model, embeddings)
    return clock() - start


def decode(model: Any, embeddings: torch.Tensor, clock: Any, new_tokens: int = 16) -> float:
    with torch.no_grad():
        cache = model(inputs_embeds=embeddings[:, :32], use_cache=True).past_key_values
        token = torch.full((len(embeddings), 1), 5)
        start = clock()
        for _ in range(new_tokens):
            cache = model(input_ids=token, past_key_values=cache, use_cache=True).past_key_values
        return (clock() - start) / new_tokens


WHAT = {"step": step, "prefill": prefill, "decode": decode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="llama-2048")
    parser.add_argument("--what", choices=WHAT, default="step")
    parser.add_argument("--layers", type=int, help="number of layers, the shape's own where not given")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seconds", type=float, default=120, help="rounds are begun until this much time has passed")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    began = time.perf_counter()
    config = shape(arguments.shape, arguments.layers)
    dtype = getattr(torch, arguments.dtype)
    models = {method: build(method, config, dtype).train(arguments.what == "step") for method in METHODS}
    embeddings = torch.randn(arguments.batch, arguments.tokens, config.hidden_size).to(dtype) * 0.02
    run, clock = WHAT[arguments.what], CLOCKS[arguments.clock]
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    for model in models.values():
        run(model, embeddings, clock)
    while time.perf_counter() - began < arguments.seconds or len(times["bare"]) < 3:
        for method, model in models.items():
            times[method].append(run(model, embeddings, clock))
    result: dict[str, Any] = {**vars(arguments), "rounds": len(times["bare"])}
    result["milliseconds"] = {method: round(1e3 * statistics.median(values), 2) for method, values in times.items()}
    result["fastest"] = {method: round(1e3 * min(values), 2) for method, values in times.items()}
    for one, other in (("neural_tuning", "lora"), ("neural_tuning", "bare"), ("lora", "bare")):
        ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        result[f"{one}/{other}"] = {"median": round(median, 4), "quartiles": [round(low, 4), round(high, 4)]}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
