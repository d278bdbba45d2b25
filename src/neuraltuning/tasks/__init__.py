"""Tasks by name. A package of its own adds one through the entry point group `neuraltuning.tasks`, or by
`register_task`; an entry point names a `Task` subclass.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from neuraltuning.errors import InputError
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task
from neuraltuning.tasks.captioning import Captioning
from neuraltuning.tasks.reasoning_segmentation import ReasoningSegmentation
from neuraltuning.tasks.referring_segmentation import ReferringSegmentation
from neuraltuning.tasks.text_to_image import TextToImage
from neuraltuning.tasks.visual_question_answering import VisualQuestionAnswering

__all__ = ["Example", "Metric", "ScoringResources", "Task", "get_task", "register_task", "task_names"]

ENTRY_POINTS = "neuraltuning.tasks"

_TASKS: dict[str, type[Task]] = {}


def register_task(task_class: type[Task]) -> type[Task]:
    """Makes a task known under its `name`; serves as a decorator.

    Raises:
        ValueError: the name is taken by another class.
    """
    if _TASKS.get(task_class.name, task_class) is not task_class:
        raise ValueError(f"The task name {task_class.name!r} is taken by {_TASKS[task_class.name].__qualname__}.")
    _TASKS[task_class.name] = task_class
    return task_class


for _task in (ReferringSegmentation, ReasoningSegmentation, Captioning, VisualQuestionAnswering, TextToImage):
    register_task(_task)


def task_names() -> tuple[str, ...]:
    """The registered tasks, those of installed packages among them."""
    return tuple(sorted({*_TASKS, *(e.name for e in entry_points(group=ENTRY_POINTS))}))


def get_task(name: str) -> Task:
    """An instance of the task called `name`.

    Raises:
        InputError: there is no such task.
    """
    if name not in _TASKS:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_task(entry.load())
    if name not in _TASKS:
        raise InputError(f"There is no task named {name!r}; known: {', '.join(task_names())}.")
    return _TASKS[name]()
