"""What a step of joint training costs on a CPU: by the attention's implementation, and with freed memory kept or not.

    python benchmarks/training_step.py --steps 16

Steps of the quickstart's configuration (one image with its examples) from the untrained model, on a chosen number of
threads. Memory is kept for a whole process or not at all, so each of the two runs in processes of its own, in turns.
Printed: median and mean seconds of a step for each pair, and the ratios to what a process does without neuraltuning's
settings ("fused attention, memory given back").
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from neuraltuning.configuration import load_settings
from neuraltuning.data.source import open_split
from neuraltuning.memory import keep_freed_memory
from neuraltuning.model import MultitaskModel
from neuraltuning.training.mixture import Mixture
from neuraltuning.training.settings import RunSettings
from neuraltuning.training.stages import Tuning

CONFIGURATION = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
LEFT_OUT = 4
"""First steps, in which memory is touched for the first time."""
ATTENTION = {"fused": "sdpa", "plain": "eager"}
MEMORY = {"given back": False, "kept": True}


def seconds(attention: str, keep: bool, steps: int) -> list[float]:
    """Seconds of each step in this process."""
    if keep:
        keep_freed_memory()
    settings = load_settings(RunSettings, CONFIGURATION)
    model = MultitaskModel.build(settings.model)
    stage = Tuning(model, settings.data.row_length).train()
    model.language_model.set_attn_implementation(ATTENTION[attention])
    data = Mixture(open_split(settings.data.source, "train", 0), settings.mixture, 0, LEFT_OUT + steps)
    parameters = list(model.trainable_parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    times = []
    for number in range(LEFT_OUT + steps):
        start = time.perf_counter()
        stage(stage.collate([data[number]])).total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return times[LEFT_OUT:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16, help="steps of each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", nargs=2, metavar=("ATTENTION", "MEMORY"), help="measure one kind in this process")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(seconds(given.one[0], MEMORY[given.one[1]], given.steps)))
        return
    found: dict[str, list[float]] = {f"{a} attention, memory {m}": [] for m in MEMORY for a in ATTENTION}
    for _ in range(given.rounds):
        for kind in found:
            attention, _, memory = kind.partition(" attention, memory ")
            own = ["--one", attention, memory, "--steps", str(given.steps), "--threads", str(given.threads)]
            done = subprocess.run([sys.executable, __file__, *own], capture_output=True, text=True, check=True)
            found[kind] += json.loads(done.stdout.splitlines()[-1])
    plain = next(iter(found.values()))
    report = {
        kind: {
            "median_s": round(statistics.median(times), 3),
            "mean_s": round(statistics.mean(times), 3),
            "median_ratio": round(statistics.median(times) / statistics.median(plain), 3),
            "mean_ratio": round(statistics.mean(times) / statistics.mean(plain), 3),
        }
        for kind, times in found.items()
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
