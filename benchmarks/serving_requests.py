"""Requests for a started server: good ones of every kind about Scenes, and bad ones. `serving.py` sends them.

Knows the API, and no model.
"""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from neuraltuning.data.sample import Sample

CHAT, SEGMENT, DRAW = "/v1/chat/completions", "/v1/segment", "/v1/images/generations"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        kind: for counting.
        path: of its endpoint.
        body: its JSON, or bytes as they are.
        headers: beside those of JSON.
        method: of HTTP.
    """

    kind: str
    path: str
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"

    @property
    def content(self) -> bytes:
        """What is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return isinstance(self.body, Mapping) and self.body.get("stream") is True


def picture_url(image: Image.Image, kind: str = "PNG") -> str:
    """An image as a data URL."""
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(text: str, picture: str | None = None, earlier: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The messages of a chat.

    Args:
        text: of the last turn.
        picture: a data URL, in the first turn.
        earlier: prompts and their replies.
    """
    messages: list[dict[str, Any]] = []
    for prompt, reply in (earlier or {}).items():
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
    messages.append({"role": "user", "content": text})
    if picture is not None:
        parts = [{"type": "image_url", "image_url": {"url": picture}}]
        messages[0]["content"] = [*parts, {"type": "text", "text": messages[0]["content"]}]
    return messages


def chat(model: str, kind: str, text: str, picture: str | None = None, **more: Any) -> Request:
    """A chat completion of one turn."""
    return Request(kind, CHAT, {"model": model, "messages": ask(text, picture), **more})


def caption(model: str, sample: Sample, **more: Any) -> Request:
    """A request to describe an image."""
    return chat(model, "caption", "Describe the image.", picture_url(sample.image), **more)


def about(model: str, sample: Sample) -> list[Request]:
    """The everyday requests about one image: a mask, a caption, an answer."""
    url = picture_url(sample.image)
    phrase = sample.objects[0].phrases[0].text
    return [
        chat(model, "segment", f"Please segment {phrase}.", url),
        chat(model, "caption", "Describe the image.", url),
        chat(model, "question", sample.questions[0].question, url),
    ]


def good_requests(model: str, samples: list[Sample], *, draws: bool) -> Iterator[Request]:
    """Requests of every kind about each image."""
    for number, sample in enumerate(samples):
        url = picture_url(sample.image, ("PNG", "JPEG", "WEBP")[number % 3])
        phrase, question = sample.objects[0].phrases[0].text, sample.questions[0].question
        yield from about(model, sample)
        yield chat(model, "stream", f"Please segment {phrase}.", url, stream=True)
        yield chat(model, "sampled", "Describe the image.", url, temperature=0.7, top_p=0.9, seed=number)
        yield chat(model, "cut", "Describe the image.", url, max_tokens=5, stop=["."])
        yield Request(
            "turns",
            CHAT,
            {"model": model, "messages": ask(question, url, {f"Please segment {phrase}.": "Here <OBJ>."})},
        )
        yield Request("masks", SEGMENT, {"model": model, "image": url, "text": f"Segment {phrase}.", "mask_png": True})
        if draws:
            yield chat(model, "drawn in chat", f"Draw a picture: {sample.captions[0]}", seed=number)
            yield Request("drawing", DRAW, {"model": model, "prompt": sample.captions[0], "seed": number})


def bad_requests(model: str, picture: str) -> list[Request]:
    """Requests that have to be refused with a 4xx, each for another reason."""

    def edited(**changes: Any) -> dict[str, Any]:
        return {"model": model, "messages": ask("Describe the image.", picture), **changes}

    good = json.dumps(edited()).encode()
    bomb = picture_url(Image.new("1", (8000, 8000)))
    head, _, code = picture.partition(",")
    bodies: dict[str, Mapping[str, Any] | bytes] = {
        "base64": edited(messages=ask("a", picture[:200] + "@" + picture[200:])),
        "truncated": edited(messages=ask("a", f"{head},{code[: len(code) // 8 * 4]}")),
        "bomb": edited(messages=ask("a", bomb)),
        "media type": edited(messages=ask("a", f"data:text/html;base64,{code}")),
        "address": edited(messages=ask("a", "http://169.254.169.254/latest")),
        "file": edited(messages=ask("a", "file:///etc/passwd")),
        "half JSON": good[: len(good) // 2],
        "deep JSON": b"[" * 100_000,
        "no UTF-8": good.replace(b"Describe", b"\xff\xfe"),
        "surrogate": good.replace(b"Describe", b"\\ud800"),
        "NaN": good[:-1] + b', "temperature": NaN}',
        "model": edited(model="nobody"),
        "temperature": edited(temperature=3),
        "n": edited(n=100),
        "max_tokens": edited(max_tokens=10**9),
        "tools": edited(tools=[{"type": "function", "function": {"name": "f"}}]),
        "role": edited(messages=[{"role": "tool", "content": "a"}]),
        "empty": edited(messages=ask(" ")),
        "long": edited(messages=ask("word " * 20_000)),
        "unknown field": edited(temprature=1),
    }
    requests = [Request(kind, CHAT, body) for kind, body in bodies.items()]
    return [
        *requests,
        Request("large", CHAT, b'{"model": "' + b"x" * 34_000_000 + b'"}'),
        Request("no JSON", CHAT, b"model=a", {"content-type": "application/x-www-form-urlencoded"}),
        Request("host", CHAT, good, {"host": "evil.example"}),
        Request("method", CHAT, b"", method="GET"),
        Request("path", "/v1/nothing", b"{}"),
        Request("url", DRAW, {"model": model, "prompt": "A dog.", "response_format": "url"}),
        Request("no image", SEGMENT, {"model": model, "text": "Please segment the cat."}),
    ]


def mixed(
    good: list[Request], bad: list[Request], count: int, share: float, seed: int = 0
) -> list[tuple[Request, bool]]:
    """`count` requests in random order, each with whether it is good; exactly the share is bad."""
    generator = random.Random(seed)
    number = round(count * share)
    chosen = [(generator.choice(good), True) for _ in range(count - number)]
    chosen += [(bad[place % len(bad)], False) for place in range(number)]
    generator.shuffle(chosen)
    return chosen
