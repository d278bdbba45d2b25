"""A working folder whose items were annotated, filtered and tagged, from the scenes' own questions and answers."""

from __future__ import annotations

from pathlib import Path

from neuraltuning.data.sample import OBJECT_TAG, QuestionAnswer, Sample
from neuraltuning.mmud.records import Annotation, Tagging, Verdict
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.data import write_data


def write_tagged(folder: Path, **sizes: int) -> Workspace:
    """A working folder in `folder`, with its data set of so many scenes a split."""
    workspace = Workspace.create(folder / "work", write_data(folder / "data", **sizes))
    for item in workspace.ids():
        sample = workspace.sample(item)
        question = longest(sample)
        answer = numbered(question)
        workspace.annotations.append(
            Annotation(
                id=item,
                caption=sample.captions[0],
                question=question.question,
                answer=question.answer.replace(f" {OBJECT_TAG}", ""),
                model="scenes",
                prompt="none",
            )
        )
        workspace.verdicts.append(Verdict(id=item))
        unplaced = sorted({*range(len(sample.objects))} - {*question.objects})
        workspace.taggings.append(Tagging(id=item, answer=answer, unplaced=tuple(i + 1 for i in unplaced)))
    return workspace


def longest(sample: Sample) -> QuestionAnswer:
    """The scene's question with the most tags."""
    return max(sample.reasoning, key=lambda question: len(question.objects))


def numbered(question: QuestionAnswer) -> str:
    """Its answer with `<OBJ-i>` for `<OBJ>`."""
    parts = question.answer.split(OBJECT_TAG)
    tags = [f"<OBJ-{index + 1}>" for index in question.objects] + [""]
    return "".join(part + tag for part, tag in zip(parts, tags, strict=True))
