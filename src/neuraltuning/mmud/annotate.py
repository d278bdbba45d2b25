"""The step `annotate`: a caption and a complex question with its answer for each image, from a vision-language model.

    neuraltuning mmud annotate DATA WORK --address http://localhost:8000/v1 --model NAME

Every usable reply is journalled in `annotations.jsonl` as soon as it is there, every other one in `failures.jsonl`, so
that nothing that was paid for is asked again. Knows the server only by its client.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from neuraltuning.data.sample import Sample
from neuraltuning.mmud.budget import Budget
from neuraltuning.mmud.client import ChatClient, Service, Unanswered, estimate_tokens
from neuraltuning.mmud.language import check_language
from neuraltuning.mmud.progress import Advance, progress
from neuraltuning.mmud.prompt_files import Prompt, load_prompt
from neuraltuning.mmud.records import Annotation, Failure, Reason
from neuraltuning.mmud.replies import Unusable, read_reply
from neuraltuning.mmud.workers import Stop, Streak, run, work
from neuraltuning.mmud.workspace import Workspace

PROMPT = "annotate.md"
PLACEHOLDERS = ("objects", "size")
LONGEST_SIDE = 1024
"""Pixels; a larger image is scaled down before it is sent."""
PHRASES = 3
"""Phrases of an object that the prompt gives at most."""
REPLY_KEPT = 2000
"""Characters of an unusable reply that are kept."""
PIXELS_A_TOKEN = 750
"""Estimate; models count between 784 (Qwen2-VL) and about 1,500 pixels (GPT-4o's tiles)."""
USUAL_OUTPUT = 375
"""Tokens: the middles of what MMUD's captions and question-answer pairs mostly have (journal paper, figure A.7)."""
LOOKED_AT = 64
"""Images that a dry run looks at."""


@dataclass(frozen=True)
class Settings:
    """How images are annotated.

    Attributes:
        prompts: folder of one's own prompts; None for the package's.
        language: ISO 639-1 code of what the replies must be in.
        attempts: replies that are asked for until one is usable.
        limit: only so many of the data set's first images; None for all.
        retry_failed: ask again about images that failed in an earlier run.
    """

    prompts: Path | None = None
    language: str = "en"
    attempts: int = 3
    limit: int | None = None
    retry_failed: bool = False


@dataclass
class Summary:
    """What a run left.

    Attributes:
        images: how many were to be annotated, in this and earlier runs.
        annotated: how many are.
        failures: the last failure of each of the others.
        spent: what the working folder has cost, in all runs.
    """

    images: int
    annotated: int
    failures: dict[str, Failure] = field(default_factory=dict)
    spent: float = 0.0

    @property
    def missing(self) -> float:
        """Share of the images that have no annotation."""
        return 1.0 - self.annotated / self.images if self.images else 0.0

    def reasons(self) -> Counter[str]:
        """Reason -> how many images have none for it."""
        return Counter(failure.reason for failure in self.failures.values())


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
        images, left: all, and those without an annotation.
        input_tokens, output_tokens: of all requests, if every reply is usable.
        most_output_tokens: with replies as long as they may be.
        cost, most: accordingly.
        spent: so far.
    """

    images: int
    left: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    cost: float
    most: float
    spent: float


@dataclass(frozen=True)
class _Request:
    content: list[dict[str, Any]]
    input_tokens: float


def annotate(workspace: Workspace, service: Service, settings: Settings) -> Summary:
    """Annotates what has no annotation yet.

    Raises:
        InputError: unusable settings or prompts; nothing was asked.
        RunError: no request can succeed, the budget is spent, or image after image fails; the rest is kept.
        KeyboardInterrupt: Ctrl-C; the rest is kept.
    """
    check_language(settings.language)
    prompt = load_prompt(PROMPT, settings.prompts, PLACEHOLDERS)
    with workspace.lock("annotate"):
        plan = _Plan(workspace, settings)
        if plan.left:
            with progress("Annotating", len(plan.left), priced=service.prices.known) as advance:
                run(lambda stop: _Annotator(workspace, service, settings, prompt, plan, advance, stop).all())
        return _Plan(workspace, settings).summary()


def estimate(workspace: Workspace, service: Service, settings: Settings) -> Estimate:
    """What `annotate` would cost, from some of the images and from what this model has counted before."""
    prompt = load_prompt(PROMPT, settings.prompts, PLACEHOLDERS)
    plan = _Plan(workspace, settings)
    counted = [record for record in workspace.annotations if record.model == service.model]
    if counted:
        size = _mean([record.input_tokens for record in counted])
        reply = _mean([record.output_tokens for record in counted])
    else:
        chosen = plan.left[:: max(1, len(plan.left) // LOOKED_AT)][:LOOKED_AT]
        size = _mean([make_request(workspace.sample(item), prompt).input_tokens for item in chosen])
        reply = USUAL_OUTPUT
    left = len(plan.left)
    input_tokens, output_tokens, most = round(size * left), round(reply * left), service.max_tokens * left
    return Estimate(
        images=len(plan.items),
        left=left,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        most_output_tokens=most,
        cost=service.prices.cost(input_tokens, output_tokens),
        most=service.prices.cost(input_tokens, most),
        spent=plan.spent,
    )


def make_request(sample: Sample, prompt: Prompt) -> _Request:
    """The message about a sample: the prompt with its objects, and its image at most `LONGEST_SIDE` wide and high."""
    image = sample.image.copy()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    text = prompt.fill(
        objects=describe_objects(sample, image.width / sample.image.width, image.height / sample.image.height),
        size=f"{image.width} x {image.height}",
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    tokens = estimate_tokens(text) + image.width * image.height / PIXELS_A_TOKEN
    return _Request([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}], tokens)


def describe_objects(sample: Sample, x_scale: float = 1.0, y_scale: float = 1.0) -> str:
    """A line for each annotated object: category, phrases, and its box in the scaled image."""
    lines = []
    for number, item in enumerate(sample.objects, start=1):
        phrases = [phrase.text for phrase in item.phrases if phrase.text != item.category][:PHRASES]
        names = ", ".join([item.category or "object", *(f'"{phrase}"' for phrase in phrases)])
        x, y, width, height = item.box
        box = ", ".join(str(round(side)) for side in (x * x_scale, y * y_scale, width * x_scale, height * y_scale))
        lines.append(f"{number}. {names}; {box}")
    return "\n".join(lines) or "(none)"


class _Plan:
    """What there is to do, by the journals."""

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self.items = workspace.ids()[: settings.limit]
        annotations, failures = list(workspace.annotations), list(workspace.failures)
        self.spent = sum(record.cost for record in (*annotations, *failures))
        annotated = {record.id for record in annotations}
        self.attempts: Counter[str] = Counter()
        self._last = {record.id: record for record in failures}
        given_up = set()
        for record in failures:
            self.attempts[record.id] += record.reason != "unanswered"
            if record.reason == "rejected" or self.attempts[record.id] >= settings.attempts:
                given_up.add(record.id)
        if settings.retry_failed:
            for item in given_up:
                del self.attempts[item]
            given_up = set()
        self.left = [item for item in self.items if item not in annotated and item not in given_up]
        self._annotated = annotated

    def summary(self) -> Summary:
        missing = [item for item in self.items if item not in self._annotated]
        return Summary(
            images=len(self.items),
            annotated=len(self.items) - len(missing),
            failures={item: self._last[item] for item in missing if item in self._last},
            spent=self.spent,
        )


class _Annotator:
    """One run."""

    def __init__(
        self,
        workspace: Workspace,
        service: Service,
        settings: Settings,
        prompt: Prompt,
        plan: _Plan,
        advance: Advance,
        stop: Stop,
    ) -> None:
        self._workspace, self._service, self._settings = workspace, service, settings
        self._prompt, self._plan, self._advance, self._stop = prompt, plan, advance, stop
        self._budget = Budget(service.prices, service.budget, plan.spent, stop)
        self._streak = Streak()
        # samples are read one by one, beside the event loop
        self._reader = ThreadPoolExecutor(max_workers=1)

    async def all(self) -> None:
        with self._reader:
            async with ChatClient(self._service, self._budget, self._stop) as self._client:
                await work(self._plan.left, self._one, self._service.concurrency, self._stop)

    async def _one(self, item: str) -> None:
        loop = asyncio.get_running_loop()
        request = await loop.run_in_executor(self._reader, self._request, item)
        failure = None
        for _ in range(self._settings.attempts - self._plan.attempts[item]):
            failure = await self._try(item, request)
            if failure is None or failure.reason in ("unanswered", "rejected"):
                break
        self._advance(self._budget.spent)
        self._streak.note(item, f"{failure.reason}, {failure.detail}" if failure else None)

    def _request(self, item: str) -> _Request:
        return make_request(self._workspace.sample(item), self._prompt)

    async def _try(self, item: str, request: _Request) -> Failure | None:
        """Asks once and journals what comes of it."""
        stamps: dict[str, Any] = {"id": item, "model": self._service.model, "prompt": self._prompt.stamp}

        def fail(reason: Reason, detail: str, **more: Any) -> Failure:
            failure = Failure(**stamps, reason=reason, detail=detail, **more)
            self._workspace.failures.append(failure)
            return failure

        try:
            answer = await self._client.ask(
                request.content,
                request.input_tokens,
                lambda detail, cost: fail("unanswered", detail, cost=cost),
            )
        except Unanswered as error:
            return fail(error.reason, error.detail)
        counts = answer.counts()
        read = read_reply(answer.text, answer.ended, self._settings.language)
        if isinstance(read, Unusable):
            return fail(read.reason, read.detail, reply=answer.text[:REPLY_KEPT], **counts)
        self._workspace.annotations.append(Annotation(**stamps, **counts, **read.model_dump()))
        return None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
