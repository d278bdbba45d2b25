"""The step `filter`: the journal paper's three rules (appendix A.1), each with what it found.

    neuraltuning mmud filter WORK

"meaningless" (`meaning`) and "length" look at the texts alone. For "blind" (`blind`) a model at an address, or the
embedded one, answers the question without the image; it is not asked about what the others reject. What has a verdict
keeps it, so that a later run looks at new annotations, and at rules that were not applied before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from neuraltuning.errors import InputError
from neuraltuning.mmud.blind import agreement
from neuraltuning.mmud.budget import Budget
from neuraltuning.mmud.client import ChatClient, Service, Unanswered, estimate_tokens
from neuraltuning.mmud.meaning import meaningless, words
from neuraltuning.mmud.progress import Advance, progress
from neuraltuning.mmud.prompt_files import Prompt, load_prompt
from neuraltuning.mmud.records import Annotation, BlindAnswer, Failure, Reason, Rejection, Rule, Verdict
from neuraltuning.mmud.workers import Stop, Streak, run, work
from neuraltuning.mmud.workspace import Workspace

RULES: tuple[Rule, ...] = get_args(Rule)
FEWEST, MOST = 10, 500
"""Words of a caption and of an answer (journal paper, appendix A.1)."""
PROMPT = "blind.md"


@dataclass(frozen=True)
class Summary:
    """What a run left, of all annotations.

    Attributes:
        verdicts: how many have one.
        kept: how many are kept.
        rejected: rule -> how many it rejects; an annotation can be rejected by two.
        open: how many have none, because the model could not be asked.
        spent: what the answers without the image have cost, in all runs.
    """

    verdicts: int
    kept: int
    rejected: Counter[Rule]
    open: int
    spent: float


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a list with commas, in their own order.

    Raises:
        InputError: one is unknown, or there is none.
    """
    named = {name.strip() for name in text.split(",") if name.strip()}
    if not named or not named.issubset(RULES):
        raise InputError(f"--rules {text!r}: the rules are {', '.join(RULES)}; name one or more of them.")
    return tuple(rule for rule in RULES if rule in named)


def filter_annotations(
    workspace: Workspace, rules: Sequence[Rule] = RULES, service: Service | None = None, prompts: Path | None = None
) -> Summary:
    """Gives each annotation that has none a verdict.

    Args:
        workspace: the working folder.
        rules: that are applied.
        service: the text-only model for the rule "blind"; None for the embedded one.
        prompts: folder of one's own prompts.

    Raises:
        InputError: unusable prompts, or there is nothing annotated.
        RunError: no request can succeed, or the budget is spent; the verdicts so far are kept.
        KeyboardInterrupt: Ctrl-C; the verdicts so far are kept.
    """
    prompt = load_prompt(PROMPT, prompts, ("question",))
    annotations = workspace.annotations.last()
    if not annotations:
        raise InputError(f"{workspace.folder} holds no annotations; write them with: neuraltuning mmud annotate.")
    with workspace.lock("filter"):
        unseen = list(_by_texts(workspace, annotations, rules))
        if unseen:
            priced = service is not None and service.prices.known
            with progress("Asking without images", len(unseen), priced=priced) as advance:
                if service is None:
                    _ask_embedded(workspace, unseen, prompt, advance)
                else:
                    _ask_service(workspace, unseen, prompt, advance, service)
        verdicts = workspace.verdicts.last()
    given = [verdict for item, verdict in verdicts.items() if item in annotations]
    return Summary(
        verdicts=len(given),
        kept=sum(verdict.kept for verdict in given),
        rejected=Counter(rejection.rule for verdict in given for rejection in verdict.rejections),
        open=sum(not _is_settled(verdicts.get(item), rules) for item in annotations),
        spent=_spent(workspace),
    )


def length(annotation: Annotation) -> str | None:
    """Which text is too short or too long, or None. The question may be short."""
    for name, text in (("caption", annotation.caption), ("answer", annotation.answer)):
        count = len(words(text))
        if count < FEWEST:
            return f"{name}: {count} words, fewer than {FEWEST}"
        if count > MOST:
            return f"{name}: {count} words, more than {MOST}"
    return None


_BY_TEXT: dict[Rule, Callable[[Annotation], str | None]] = {"meaningless": meaningless, "length": length}


@dataclass(frozen=True)
class _Unseen:
    """An annotation that only the rule "blind" is left for, and the rules that were applied before."""

    annotation: Annotation
    applied: tuple[Rule, ...]


def _by_texts(workspace: Workspace, annotations: dict[str, Annotation], rules: Sequence[Rule]) -> Iterator[_Unseen]:
    """Applies the rules that need no model; yields what is left to ask."""
    verdicts = workspace.verdicts.last()
    for item, annotation in annotations.items():
        before = verdicts.get(item)
        if _is_settled(before, rules):
            continue
        applied = before.rules if before else ()
        rejections = []
        for rule, check in _BY_TEXT.items():
            if rule in rules and rule not in applied:
                applied = (*applied, rule)
                if (found := check(annotation)) is not None:
                    rejections.append(Rejection(rule=rule, detail=found))
        if rejections or "blind" not in rules:
            workspace.verdicts.append(Verdict(id=item, rules=applied, rejections=tuple(rejections)))
        else:
            yield _Unseen(annotation, applied)


def _is_settled(verdict: Verdict | None, rules: Sequence[Rule]) -> bool:
    return verdict is not None and (not verdict.kept or set(rules).issubset(verdict.rules))


def _ask_embedded(workspace: Workspace, unseen: Sequence[_Unseen], prompt: Prompt, advance: Advance) -> None:
    from neuraltuning.mmud.embedded_reader import BATCH, NAME, EmbeddedReader

    judge = _Judge(workspace, NAME, prompt)
    asked = [item for item in unseen if not judge.knows(item, advance)]
    if not asked:
        return
    reader = EmbeddedReader()
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        replies = reader.answers([judge.prompt(item) for item in batch])
        for item, (text, inputs, outputs) in zip(batch, replies, strict=True):
            judge.take(item, text, input_tokens=inputs, output_tokens=outputs)
            advance(0.0)


def _ask_service(
    workspace: Workspace, unseen: Sequence[_Unseen], prompt: Prompt, advance: Advance, service: Service
) -> None:
    judge = _Judge(workspace, service.model, prompt)
    asked = [item for item in unseen if not judge.knows(item, advance)]

    async def ask_all(stop: Stop) -> None:
        budget = Budget(service.prices, service.budget, _spent(workspace), stop)
        streak = Streak()

        async def ask(item: _Unseen) -> None:
            text = judge.prompt(item)

            def lost(detail: str, cost: float) -> None:
                judge.fail(item, "unanswered", detail, cost=cost)

            problem = None
            try:
                answer = await client.ask(text, estimate_tokens(text), lost)
            except Unanswered as error:
                problem = error.detail
                judge.fail(item, error.reason, problem)
            else:
                if answer.text.strip():
                    judge.take(item, answer.text, **answer.counts())
                else:  # such as of a model that thinks for longer than --max-tokens
                    problem = f"the answer is empty and ended with {answer.ended!r}"
                    judge.fail(item, "empty", problem, **answer.counts())
            advance(budget.spent)
            streak.note(item.annotation.id, problem)

        async with ChatClient(service, budget, stop) as client:
            await work(asked, ask, service.concurrency, stop)

    run(ask_all)


class _Judge:
    """Journals one model's answers and judges by them."""

    def __init__(self, workspace: Workspace, model: str, prompt: Prompt) -> None:
        self._workspace, self._prompt = workspace, prompt
        self._stamps: dict[str, Any] = {"model": model, "prompt": prompt.stamp}
        self._known = {
            answer.id: answer.answer
            for answer in workspace.blind_answers
            if (answer.model, answer.prompt) == (model, prompt.stamp)
        }

    def prompt(self, item: _Unseen) -> str:
        return self._prompt.fill(question=item.annotation.question)

    def knows(self, item: _Unseen, advance: Advance) -> bool:
        """Judges by the answer of a run that was killed before its verdict, if there is one."""
        answer = self._known.get(item.annotation.id)
        if answer is None:
            return False
        self._judge(item, answer)
        advance(0.0)
        return True

    def take(self, item: _Unseen, answer: str, **counts: Any) -> None:
        """Journals an answer and the verdict that follows."""
        self._workspace.blind_answers.append(
            BlindAnswer(id=item.annotation.id, answer=answer, **self._stamps, **counts)
        )
        self._judge(item, answer)

    def fail(self, item: _Unseen, reason: Reason, detail: str, **counts: Any) -> None:
        """Journals that there is no answer."""
        self._workspace.blind_failures.append(
            Failure(id=item.annotation.id, reason=reason, detail=detail, **self._stamps, **counts)
        )

    def _judge(self, item: _Unseen, answer: str) -> None:
        annotation = item.annotation
        categories = {found.category for found in self._workspace.sample(annotation.id).objects}
        found = agreement(annotation.question, annotation.answer, answer, categories)
        detail = f"{self._stamps['model']}: {found}"
        rejections = () if found is None else (Rejection(rule="blind", detail=detail),)
        self._workspace.verdicts.append(
            Verdict(id=annotation.id, rules=(*item.applied, "blind"), rejections=rejections)
        )


def _spent(workspace: Workspace) -> float:
    return sum(record.cost for journal in (workspace.blind_answers, workspace.blind_failures) for record in journal)
