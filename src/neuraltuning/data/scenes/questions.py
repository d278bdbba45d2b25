"""Visual question answering: counting, color, yes or no, and what is where, with answers of one or two words.

The answers are balanced so that guessing without the image scores low: yes and no are drawn evenly, and a count is
drawn among the answers that the image offers rather than among the questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuraltuning.data.sample import QuestionAnswer
from neuraltuning.data.scenes.backgrounds import BACKGROUND_COLORS
from neuraltuning.data.scenes.captions import RELATION_WORDS
from neuraltuning.data.scenes.catalog import Category, confused_with
from neuraltuning.data.scenes.geometry import DIRECTIONS, OPPOSITE, is_in_direction, is_in_quadrant, region
from neuraltuning.data.scenes.layout import Scene, choose_objects
from neuraltuning.data.scenes.phrases import same_class, short_name

_COUNT = ("How many {x} are there?", "How many {x} can you see?", "How many {x} are in the picture?")
_COUNT_HELD_OUT = ("What is the number of {x}?", "Count the {x}: how many?")
_COLOR = ("What color is {x}?", "Which color does {x} have?", "What is the color of {x}?")
_COLOR_HELD_OUT = ("In which color is {x} shown?", "How is {x} colored?")
_EXISTS = ("Is there {x}?", "Is there {x} in the picture?", "Can you see {x}?", "Does the image show {x}?")
_EXISTS_HELD_OUT = ("Has this scene got {x}?", "Would you find {x} in here?")
_IS = ("Is {x} {y}?",)
_IS_HELD_OUT = ("Is it true that {x} is {y}?", "Would you say that {x} is {y}?")
_WHAT = ("What is {y}?", "Which object is {y}?", "What can be seen {y}?")
_WHAT_HELD_OUT = ("Which item would I find {y}?", "Name the thing {y}, what is it?")
_WHERE = ("Where is {x}?", "Where in the picture is {x}?")
_WHERE_HELD_OUT = ("In which part of the scene is {x}?", "Whereabouts is {x}?")

# Counts that the images offer too often (or too rarely) are chosen less (or more) often.
_COUNT_WEIGHTS = {0: 0.6, 1: 1.0, 2: 1.0, 3: 1.6, 4: 2.4, 5: 3.0, 6: 3.0}


def questions(
    rng: np.random.Generator, scene: Scene, categories: Sequence[Category], held_out_wordings: bool
) -> tuple[QuestionAnswer, ...]:
    """Returns four to six questions: one of each kind where the image offers it, then more of the kinds drawn.

    Args:
        rng: the source of chance.
        scene: what is asked about.
        categories: the classes of the split, for questions about what is absent.
        held_out_wordings: use only question frames that no other split uses.
    """
    asker = _Asker(rng, scene, categories, held_out_wordings)
    makers = (asker.count, asker.color, asker.yes_no, asker.where)
    wanted = int(rng.integers(4, 7))
    chosen: list[QuestionAnswer] = []
    order = [*rng.permutation(len(makers)), *rng.integers(0, len(makers), size=16)]
    for number in order:
        if len(chosen) == wanted:
            break
        question = makers[number]()
        if question is not None:
            chosen.append(question)
    return tuple(chosen)


class _Asker:
    """Draws one question of each kind about a scene."""

    def __init__(self, rng: np.random.Generator, scene: Scene, categories: Sequence[Category], held_out: bool) -> None:
        self.rng, self.scene, self.categories, self.held_out = rng, scene, categories, held_out
        self.yes = bool(rng.random() < 0.5)
        self.asked: set[tuple[str, ...]] = set()
        self.named = [(index, name) for index in range(len(scene.objects)) if (name := short_name(scene, index))]

    def count(self) -> QuestionAnswer | None:
        """Counts the objects of a class, or all of them, or none."""
        options: dict[int, list[str]] = {0: [self._absent().plural], len(self.scene.objects): ["objects"]}
        for index, item in enumerate(self.scene.objects):
            options.setdefault(len(same_class(self.scene, index)), []).append(item.category.plural)
        weights = np.array([_COUNT_WEIGHTS[number] for number in options])
        answer = int(self.rng.choice(list(options), p=weights / weights.sum()))
        noun = str(self.rng.choice(options[answer]))
        return self._ask(_COUNT, _COUNT_HELD_OUT, str(answer), "count", x=noun)

    def color(self) -> QuestionAnswer | None:
        """Asks for the color of an object or of the background."""
        options = [(name, color) for index, name in self.named if (color := self.scene.objects[index].color)]
        # "the red car" would give the answer away.
        options = [(name, color) for name, color in options if color not in name.split()]
        if not self.scene.background.second_color:
            options.append(("the background", self.scene.background.color))
        if not options:
            return None
        name, color = options[int(self.rng.integers(len(options)))]
        return self._ask(_COLOR, _COLOR_HELD_OUT, color, "color", x=name)

    def yes_no(self) -> QuestionAnswer | None:
        """Asks whether something is there, has a color, or lies in a direction.

        Yes and no take turns from a random start, so that they are equally likely.
        """
        question = self._yes_no(self.yes, "yes" if self.yes else "no")
        if question is not None:
            self.yes = not self.yes
        return question

    def _yes_no(self, yes: bool, answer: str) -> QuestionAnswer | None:
        relations = self._relations()
        colored = [(name, index) for index, name in self.named if self.scene.objects[index].color]
        colored = [(name, index) for name, index in colored if self.scene.objects[index].color not in name.split()]
        draw = self.rng.random()
        if relations and draw < 0.4:
            _, anchor, direction, name = relations[int(self.rng.integers(len(relations)))]
            place = f"{RELATION_WORDS[direction if yes else OPPOSITE[direction]]} {anchor}"
            return self._ask(_IS, _IS_HELD_OUT, answer, "yes_no", x=name, y=place)
        if colored and draw < 0.65:
            name, index = colored[int(self.rng.integers(len(colored)))]
            item = self.scene.objects[index]
            others = [color for color in item.category.colors if color != item.color]
            color = item.color if yes else str(self.rng.choice(others))
            return self._ask(_IS, _IS_HELD_OUT, answer, "yes_no", x=name, y=str(color))
        if not self.scene.background.second_color and draw > 0.9:
            color = self.scene.background.color
            shown = color if yes else str(self.rng.choice([name for name in BACKGROUND_COLORS if name != color]))
            return self._ask(_IS, _IS_HELD_OUT, answer, "yes_no", x="the background", y=shown)
        category = self._present() if yes else self._absent()
        return self._ask(_EXISTS, _EXISTS_HELD_OUT, answer, "yes_no", x=f"{category.article} {category.name}")

    def where(self) -> QuestionAnswer | None:
        """Asks what is beside an object or in a corner, or in which part of the image an object is."""
        objects = self.scene.objects
        what = [
            (f"{RELATION_WORDS[direction]} {anchor}", objects[index].category.name)
            for index, anchor, direction, _ in self._relations(only_one=True)
        ]
        for index, item in enumerate(objects):
            corner = region(item)
            if corner is None or " " not in corner:
                continue
            if not any(is_in_quadrant(other, corner) for number, other in enumerate(objects) if number != index):
                what.append((f"in the {corner} corner", item.category.name))
        where = [(name, place) for index, name in self.named if (place := region(objects[index]))]
        if what and (not where or self.rng.random() < 0.6):
            place, answer = what[int(self.rng.integers(len(what)))]
            return self._ask(_WHAT, _WHAT_HELD_OUT, answer, "where", y=place)
        if not where:
            return None
        name, answer = where[int(self.rng.integers(len(where)))]
        return self._ask(_WHERE, _WHERE_HELD_OUT, answer, "where", x=name)

    def _relations(self, only_one: bool = False) -> list[tuple[int, str, str, str]]:
        """Returns target, anchor's name, direction, target's name ("" where it has none).

        With `only_one`, those where nothing but the target may lie in the direction; otherwise those whose target has
        a name.
        """
        objects, found = self.scene.objects, []
        names = dict(self.named)
        for anchor, anchor_name in self.named:
            for direction in DIRECTIONS:
                others = [index for index in range(len(objects)) if index != anchor]
                states = [is_in_direction(objects[index], objects[anchor], direction) for index in others]
                for index, state in zip(others, states, strict=True):
                    if state and (states.count(False) == len(states) - 1 if only_one else index in names):
                        found.append((index, anchor_name, direction, names.get(index, "")))
        return found

    def _present(self) -> Category:
        """Draws a class that is in the image."""
        present = {item.category.name: item.category for item in self.scene.objects}
        return list(present.values())[int(self.rng.integers(len(present)))]

    def _absent(self) -> Category:
        """Draws a class that isn't in the image as another image's class, so that frequent classes tell nothing."""
        present = {item.category.name for item in self.scene.objects}
        while True:
            others = {category.name: category for category, _ in choose_objects(self.rng, self.categories)}
            category = list(others.values())[int(self.rng.integers(len(others)))]
            if not present & confused_with(category.name):
                return category

    def _ask(
        self, trained: tuple[str, ...], held_out: tuple[str, ...], answer: str, kind: str, **words: str
    ) -> QuestionAnswer | None:
        """Returns the question in a random frame, or None if the same was asked in another frame."""
        if (kind, *words.values()) in self.asked:
            return None
        self.asked.add((kind, *words.values()))
        frames = held_out if self.held_out else trained
        return QuestionAnswer(frames[int(self.rng.integers(len(frames)))].format(**words), answer, kind)
