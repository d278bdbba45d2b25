"""What a started server does under load: throughput, latency, caches, the first token, and thousands of mixed requests.

    python benchmarks/serving.py runs/quickstart --output docs/results/serving.json
    python benchmarks/serving.py runs/quickstart --what soak --soak 2000

Everything goes over HTTP to `neuraltuning serve` in a process of its own, about images of Scenes' test split. Each
ratio is of two things that were measured in turns in the same run:

- throughput: the same requests (masks, captions, answers), one after the other, and 8 at a time, each on a server that
  has seen none of their images; and the 95th percentile of their latencies.
- waiting: a question to be answered as the second request about an image to the same one as the first, and so for a
  mask; and a streamed caption's first token to the pass over image and prompt alone, done in this process.
- soak: requests of all kinds, a fifth of them bad, 8 at a time. Each good reply is compared with the one that the same
  request got alone beforehand, each bad one has to get a 4xx in OpenAI's shape, and some clients go away in the middle;
  then the server's resident memory after the first tenth and at the end.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from serving_requests import DRAW, Request, about, bad_requests, caption, good_requests, mixed, picture_url
from transformers import DynamicCache

from neuraltuning.data.records import decode_mask
from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.files import write_json
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import IMAGE_PLACE

CONCURRENT = 8
MODEL = "served"
SAME_MASK = 0.98
"""IoU from which a mask counts as the same: batches of other sizes round differently in bfloat16."""
SAME_SCORE = 0.02
SAME_LEVELS = 1
"""Of 255, by which a pixel of a drawn picture may differ."""
BAD_SHARE = 0.2
ERROR_FIELDS = {"message", "type", "param", "code"}
PARTS = ["throughput", "waiting", "soak"]
Serve = Callable[[], AbstractContextManager[httpx.Client]]
"""Gives a server's client."""
GONE_EVERY = 50
"""Of so many requests of the soak one client goes away before its answer."""


@contextmanager
def server(model: Path) -> Iterator[httpx.Client]:
    """A started server's client."""
    command = [sys.executable, "-m", "neuraltuning", "serve", f"{MODEL}={model}", "--port", "0", "--timeout", "600"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("Serving "):
            address = line.split(" at ")[1].split("/v1")[0]
            break
    else:
        raise SystemExit(said)
    reading = threading.Thread(target=lambda: [sys.stderr.write(line) for line in process.stderr or ()], daemon=True)
    reading.start()
    limits = httpx.Limits(max_connections=None)
    try:
        with httpx.Client(base_url=address, timeout=600, limits=limits) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        assert status == 0, f"the server ended with status {status}"


def send(client: httpx.Client, request: Request) -> httpx.Response:
    """Sends a request and reads all of the answer."""
    headers = {"content-type": "application/json", **request.headers}
    return client.request(request.method, request.path, content=request.content, headers=headers)


def timed(client: httpx.Client, request: Request) -> float:
    """Seconds until a good request is answered."""
    start = time.perf_counter()
    response = send(client, request)
    assert response.status_code == 200, response.text
    return time.perf_counter() - start


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def throughput(serve: Serve, samples: list[Sample], rounds: int) -> dict[str, Any]:
    """Requests a second and latencies, one after the other and 8 at a time."""
    per_round = len(samples) // (rounds + 1)
    warming = [request for sample in samples[:per_round] for request in about(MODEL, sample)]
    found = []
    for number in range(1, rounds + 1):
        chosen = samples[number * per_round : (number + 1) * per_round]
        # one question an image, so that no cache helps
        requests = [about(MODEL, sample)[place % 3] for place, sample in enumerate(chosen)]
        entry: dict[str, Any] = {"requests": len(requests)}
        for name, workers in (("one", 1), ("concurrent", CONCURRENT)):
            with serve() as client, ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda request, client=client: timed(client, request), warming[: 2 * CONCURRENT]))
                start = time.perf_counter()
                seconds = list(pool.map(lambda request, client=client: timed(client, request), requests))
                took = time.perf_counter() - start
            entry[name] = {
                "seconds": round(took, 2),
                "requests_per_second": round(len(requests) / took, 3),
                "p50_s": round(statistics.median(seconds), 3),
                "p95_s": round(percentile(seconds, 0.95), 3),
            }
        entry["throughput_ratio"] = entry["one"]["seconds"] / entry["concurrent"]["seconds"]
        entry["p95_ratio"] = entry["concurrent"]["p95_s"] / entry["one"]["p95_s"]
        found.append(entry)
    return {
        "rounds": found,
        "throughput_ratio": round(statistics.median(entry["throughput_ratio"] for entry in found), 3),
        "p95_ratio": round(statistics.median(entry["p95_ratio"] for entry in found), 3),
    }


def second_question(client: httpx.Client, samples: list[Sample]) -> dict[str, Any]:
    """Seconds of the same request as the first and as the second one about an image: a question, and one for a mask."""
    first: dict[str, list[float]] = {"question": [], "segment": []}
    second: dict[str, list[float]] = {"question": [], "segment": []}
    for number, sample in enumerate(samples):
        for turned in (False, True):
            # One value of one pixel makes it an image that the server has not seen, with the same replies.
            segment, _, question = about(MODEL, replace(sample, image=touched(sample.image)) if turned else sample)
            for request, times in zip((segment, question)[:: -1 if turned else 1], (first, second), strict=True):
                took = timed(client, request)
                if number >= 2:  # the others warm up
                    times[request.kind].append(took)
    return {
        kind: {
            "images": len(first[kind]),
            "first_s": round(statistics.median(first[kind]), 3),
            "second_s": round(statistics.median(second[kind]), 3),
            "ratio": round(statistics.median(b / a for a, b in zip(first[kind], second[kind], strict=True)), 3),
        }
        for kind in first
    }


def touched(image: Image.Image) -> Image.Image:
    """A copy that differs in a corner's red by one."""
    copy = image.copy()
    red, green, blue = image.getpixel((0, 0))
    copy.putpixel((0, 0), (red ^ 1, green, blue))
    return copy


@torch.no_grad()
def prefill(model: MultitaskModel, sample: Sample, text: str) -> float:
    """Seconds of the pass over an image and a prompt, from the opened image to the keys and values."""
    start = time.perf_counter()
    _, tokens = model.see(model.encoder.preprocess([sample.image]))
    bos = [] if model.format.bos_id is None else [model.format.bos_id]
    ids = torch.tensor([[*bos, *[IMAGE_PLACE] * model.image_length, *model.format.prompt_ids(text)]])
    embeds = model.embed(ids, tokens, torch.zeros(1, dtype=torch.int64))
    output = model.hidden_states(
        embeds, past_key_values=DynamicCache(config=model.language_model.config), use_cache=True
    )
    model.logits(output.last_hidden_state[:, -1]).argmax().item()
    return time.perf_counter() - start


def delta_of(line: str) -> dict[str, Any]:
    """What an event of a stream adds to the reply; nothing where it ends it."""
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise SystemExit(f"A stream failed: {event}")
    return dict(event["choices"][0]["delta"]) if event["choices"] else {}


def first_token(client: httpx.Client, path: Path, samples: list[Sample]) -> dict[str, Any]:
    """Seconds to a streamed caption's first text, and of the prefill alone, in turns."""
    model = MultitaskModel.from_pretrained(path)
    alone, streamed = [], []
    for number, sample in enumerate(samples):
        request = caption(MODEL, sample, stream=True)
        took = 0.0
        start = time.perf_counter()
        with client.stream("POST", request.path, json=request.body) as response:
            for line in response.iter_lines():
                if not took and line.startswith("data: {") and delta_of(line).get("content"):
                    took = time.perf_counter() - start
        own = prefill(model, sample, "Describe the image.")
        if number >= 2:  # the others warm up
            streamed.append(took)
            alone.append(own)
    return {
        "images": len(alone),
        "prefill_s": round(statistics.median(alone), 4),
        "first_token_s": round(statistics.median(streamed), 4),
        "ratio": round(statistics.median(streamed) / statistics.median(alone), 3),
    }


def waiting(serve: Serve, model: Path, first: list[Sample], second: list[Sample]) -> dict[str, Any]:
    """How long a client waits for a second question's answer, and for a first token; each about other images."""
    with serve() as client:
        return {"second_question": second_question(client, first), "first_token": first_token(client, model, second)}


def answer_of(request: Request, response: httpx.Response) -> dict[str, Any]:
    """What a good request was answered, the same for streams: text, objects, pictures."""
    assert response.status_code == 200, f"{request.kind}: {response.text[:300]}"
    if request.streamed:
        lines = [line for line in response.text.split("\n\n") if line]
        assert lines.pop() == "data: [DONE]", f"{request.kind}: the stream broke off"
        deltas = [delta_of(line) for line in lines]
        objects = [found for delta in deltas for found in delta.get("objects", [])]
        return {"text": "".join(delta.get("content", "") for delta in deltas), "objects": objects, "images": []}
    found = response.json()
    if "data" in found:
        return {"text": "", "objects": [], "images": [drawn["b64_json"] for drawn in found["data"]]}
    if "choices" not in found:
        return {"text": found["text"], "objects": found["objects"], "images": []}
    message = found["choices"][0]["message"]
    return {
        "text": message["content"],
        "objects": message["objects"],
        "images": [drawn["image_url"]["url"] for drawn in message["images"]],
    }


def difference(alone: dict[str, Any], answer: dict[str, Any]) -> str:
    """Nothing where an answer is the one that was given alone, "rounding" where it means the same, else "wrong"."""
    if alone == answer:
        return ""
    if alone["text"] != answer["text"] or len(alone["images"]) != len(answer["images"]):
        return "wrong"
    drawn = (apart(*pair) for pair in zip(alone["images"], answer["images"], strict=True))
    if any(levels > SAME_LEVELS for levels in drawn):
        return "wrong"
    pairs = list(zip(alone["objects"], answer["objects"], strict=True))
    close = all(
        abs(one["score"] - other["score"]) <= SAME_SCORE and overlap(one, other) >= SAME_MASK for one, other in pairs
    )
    return "rounding" if close else "wrong"


def apart(one: str, other: str) -> int:
    """By how many of 255 levels two pictures differ at most."""
    first, second = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(url.rpartition(",")[2])))).astype(int) for url in (one, other)
    )
    return int(np.abs(first - second).max())


def overlap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The IoU of two objects' masks; 1 where both are empty."""
    first, second = (
        decode_mask(found["segmentation"]["counts"], found["segmentation"]["size"]) for found in (one, other)
    )
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def resident_mb(client: httpx.Client) -> float:
    """The server's resident memory."""
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes ")) / 2**20


def leave(client: httpx.Client, request: Request, generator: random.Random) -> None:
    """Asks, and goes away before the answer."""
    with contextlib.suppress(httpx.TimeoutException):
        client.post(request.path, json=request.body, timeout=generator.uniform(0.01, 0.5))


def soak(serve: Serve, samples: list[Sample], count: int) -> dict[str, Any]:
    """Mixed requests at 8 at a time."""
    with serve() as client, ThreadPoolExecutor(CONCURRENT) as pool:
        drawing = Request("drawing", DRAW, {"model": MODEL, "prompt": "A dog."})
        draws = send(client, drawing).status_code == 200
        good = list(good_requests(MODEL, samples, draws=draws))
        bad = bad_requests(MODEL, picture_url(samples[0].image))
        alone = {id(request): answer_of(request, send(client, request)) for request in good}
        asked = mixed(good, bad, count, BAD_SHARE)
        counts: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        lock = threading.Lock()

        def one(number: int) -> None:
            request, is_good = asked[number]
            if number % GONE_EVERY == GONE_EVERY - 1:
                leave(client, good[number % len(good)], random.Random(number))
            response = send(client, request)
            if is_good:
                verdict = difference(alone[id(request)], answer_of(request, response)) or "identical"
            else:
                refused = 400 <= response.status_code < 500 and set(response.json()["error"]) == ERROR_FIELDS
                verdict = "refused" if refused else "not refused"
            with lock:
                counts[verdict] += 1
                statuses[f"{request.kind}: {response.status_code}"] += 1
                if verdict in ("wrong", "not refused"):
                    print(f"{verdict}: {request.kind}: {response.text[:300]}", file=sys.stderr)

        start = time.perf_counter()
        first = count // 10
        list(pool.map(one, range(first)))
        memory = [resident_mb(client)]
        for place in range(first, count, first):
            list(pool.map(one, range(place, min(place + first, count))))
            memory.append(resident_mb(client))
        took = time.perf_counter() - start
        left = client.get("/metrics").text
    running = next(line for line in left.splitlines() if line.startswith("neuraltuning_engine_running "))
    return {
        "requests": count,
        "kinds": len({request.kind for request in (*good, *bad)}),
        "seconds": round(took, 1),
        "identical": counts["identical"],
        "rounding": counts["rounding"],
        "wrong": counts["wrong"],
        "refused": counts["refused"],
        "not_refused": counts["not refused"],
        "left": count // GONE_EVERY,
        "running_at_end": float(running.split()[1]),
        "resident_mb": [round(value, 1) for value in memory],
        "growth": round(max(memory) / memory[0] - 1, 4),
        "statuses": dict(sorted(statuses.items())),
    }


def machine(model: Path) -> dict[str, Any]:
    """What the figures were measured on."""
    loaded = MultitaskModel.from_pretrained(model)
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(loaded.language_model.dtype).removeprefix("torch."),
    }


def processor() -> str:
    """Its name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a tuned model's folder, or its run's")
    parser.add_argument("--what", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--images", type=int, default=96, help="images of the throughput, over its rounds and warming up"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the throughput")
    parser.add_argument("--questions", type=int, default=24, help="images of each figure of waiting")
    parser.add_argument("--soak", type=int, default=2000, help="requests of the soak")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--quick", action="store_true", help="a few requests of each kind: whether it runs at all")
    given = parser.parse_args()
    if given.quick:
        given.images, given.rounds, given.questions, given.soak = 12, 1, 4, 60
    data = SceneDataset("test", given.images)
    samples = [data[number] for number in range(given.images)]
    found: dict[str, Any] = {"model": given.model.name, "machine": machine(given.model)}
    with ExitStack() as stack:
        serve: Serve = lambda: server(given.model)  # noqa: E731
        if given.quick:  # one server for all
            client = stack.enter_context(serve())
            serve = lambda: nullcontext(client)  # noqa: E731
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "throughput": lambda: throughput(serve, samples, given.rounds),
            "waiting": lambda: waiting(serve, given.model, samples[: given.questions], samples[-given.questions :]),
            "soak": lambda: soak(serve, samples[: 2 if given.quick else 12], given.soak),
        }
        for name in given.what:
            found[name] = parts[name]()
            print(json.dumps({name: found[name]}), file=sys.stderr)
    print(json.dumps(found, indent=2))
    if given.output:
        write_json(given.output, found)


if __name__ == "__main__":
    main()
