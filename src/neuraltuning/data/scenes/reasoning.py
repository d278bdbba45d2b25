"""Reasoning questions: the object is described by what is known of it, the answer names and tags it.

Several objects are named along the axis on which they are spread most, from left to right or from top to bottom. Masks
are scored in the answer's order, so it must be one that can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuraltuning.data.sample import OBJECT_TAG, Phrase, QuestionAnswer
from neuraltuning.data.scenes.captions import capitalize, enumerate_words
from neuraltuning.data.scenes.catalog import PROPERTIES, Property
from neuraltuning.data.scenes.geometry import widest_axis
from neuraltuning.data.scenes.layout import Scene
from neuraltuning.data.scenes.phrases import mention, same_class

# {vp}: a verb phrase in the third person, "keeps you dry in the rain".
_KNOWLEDGE = (
    "Which of these {vp}?",
    "What here {vp}?",
    "Which object {vp}?",
    "What in this picture {vp}?",
    "I am looking for something that {vp}. What is it?",
    "Can you find the thing that {vp}?",
    "Which thing in the image {vp}?",
    "One of these {vp}. Which one?",
    "I am thinking of something that {vp}. What do I mean?",
    "What do you see that {vp}?",
)
_KNOWLEDGE_HELD_OUT = (
    "Tell me, what {vp}?",
    "Is there anything here that {vp}, and what?",
    "Somewhere in this scene is something that {vp}. Where is it?",
    "Of everything shown, what {vp}?",
    "My riddle: it {vp}. Which item do I mean?",
)
# {vp}: singular, {vps}: plural.
_GROUP = (
    "Which of these {vps}?",
    "Which objects here {vps}?",
    "What in this picture {vp}?",
    "Can you find everything that {vp}?",
    "Which things in the image {vps}?",
)
_GROUP_HELD_OUT = (
    "Of everything shown, which items {vps}?",
    "Tell me all that {vp}?",
    "Name each item that {vp}, will you?",
)
_HEAVIEST = (
    "Which of these is the heaviest in real life?",
    "What here weighs the most in reality?",
    "Which real one would be the hardest to lift?",
)
_HEAVIEST_HELD_OUT = ("If all of these were real, which would press the scale down most?",)
_LIGHTEST = (
    "Which of these is the lightest in real life?",
    "What here weighs the least in reality?",
    "Which real one would be the easiest to lift?",
)
_LIGHTEST_HELD_OUT = ("If all of these were real, which would hardly move the scale?",)
_MIN_MASS_RATIO = 4.0


def reasoning(
    rng: np.random.Generator, scene: Scene, phrases: Sequence[Sequence[Phrase]], held_out_wordings: bool
) -> tuple[QuestionAnswer, ...]:
    """Returns two to four questions.

    Args:
        rng: the source of chance.
        scene: what is asked about.
        phrases: the referring expressions of each object; they name objects that share their class with another.
        held_out_wordings: use only sentence frames and descriptions that no other split uses.
    """
    mentions = [mention(scene, index, phrases[index]) for index in range(len(scene.objects))]
    groups = [_group(rng, scene, item, mentions, held_out_wordings) for item in PROPERTIES]
    comparisons = [_comparison(rng, scene, mentions, held_out_wordings, heaviest) for heaviest in (True, False)]
    shared = [question for question in (*groups, *comparisons) if question is not None]
    known = _knowledge(rng, scene, mentions, held_out_wordings)
    wanted = int(rng.integers(2, 5))
    shared_count = min(len(shared), int(rng.integers(0, 3)))
    chosen = known[: wanted - shared_count]
    chosen += [shared[index] for index in rng.permutation(len(shared))[: wanted - len(chosen)]]
    return tuple(chosen[index] for index in rng.permutation(len(chosen)))


def _in_order(scene: Scene, indices: Sequence[int]) -> list[int]:
    axis = widest_axis([scene.objects[index] for index in indices])
    return sorted(indices, key=lambda index: scene.objects[index].center[axis])


def _answer(mentions: Sequence[str | None], indices: Sequence[int], predicate: str) -> str:
    """Returns "The left dog <OBJ> and the cat <OBJ> are animals." for the predicate "are animals"."""
    tagged = [f"{mentions[index]} {OBJECT_TAG}" for index in indices]
    return capitalize(f"{enumerate_words(tagged)} {predicate}".strip()) + "."


def _knowledge(
    rng: np.random.Generator, scene: Scene, mentions: Sequence[str | None], held_out: bool
) -> list[QuestionAnswer]:
    """Returns questions about facts: first one for each class, then the others, each in random order."""
    frames = _KNOWLEDGE_HELD_OUT if held_out else _KNOWLEDGE
    present = {item.category.name for item in scene.objects}
    firsts: list[QuestionAnswer] = []
    others: list[QuestionAnswer] = []
    for index in rng.permutation(len(scene.objects)):
        group = same_class(scene, int(index))
        if group[0] != index:
            continue
        group = _in_order(scene, group)
        facts = scene.objects[index].category.facts
        for rank, number in enumerate(rng.permutation(len(facts))):
            fact = facts[number]
            if present.intersection(fact.also):
                continue
            verb_phrase = fact.held_out if held_out else fact.trained
            # The facts are in the singular; several objects are just named.
            answer = _answer(mentions, group, verb_phrase if len(group) == 1 else "")
            question = frames[int(rng.integers(len(frames)))].format(vp=verb_phrase)
            (others if rank else firsts).append(QuestionAnswer(question, answer, "knowledge", tuple(group)))
    return firsts + others


def _group(
    rng: np.random.Generator, scene: Scene, item: Property, mentions: Sequence[str | None], held_out: bool
) -> QuestionAnswer | None:
    kinds = [{thing.category.name, thing.category.supercategory} for thing in scene.objects]
    members = [index for index, names in enumerate(kinds) if names.intersection(item.members)]
    # A class may be named as unclear although its supercategory is a member.
    unclear = any(
        thing.category.name in item.unclear or (index not in members and names.intersection(item.unclear))
        for index, (thing, names) in enumerate(zip(scene.objects, kinds, strict=True))
    )
    if not members or unclear or (len(members) == len(kinds) and rng.random() < 0.7):
        return None
    singular, plural = (item.held_out_singular, item.held_out_plural) if held_out else (item.singular, item.plural)
    members = _in_order(scene, members)
    answer = _answer(mentions, members, singular if len(members) == 1 else plural)
    frames = _GROUP_HELD_OUT if held_out else _GROUP
    question = frames[int(rng.integers(len(frames)))].format(vp=singular, vps=plural)
    return QuestionAnswer(question, answer, "group", tuple(members))


def _comparison(
    rng: np.random.Generator, scene: Scene, mentions: Sequence[str | None], held_out: bool, heaviest: bool
) -> QuestionAnswer | None:
    if len(scene.objects) < 2:
        return None
    masses = [item.category.kilograms for item in scene.objects]
    order = sorted(range(len(masses)), key=lambda index: masses[index], reverse=heaviest)
    first, second = masses[order[0]], masses[order[1]]
    if max(first, second) < _MIN_MASS_RATIO * min(first, second):
        return None
    if heaviest:
        frames, predicate = _HEAVIEST_HELD_OUT if held_out else _HEAVIEST, "is the heaviest"
    else:
        frames, predicate = _LIGHTEST_HELD_OUT if held_out else _LIGHTEST, "is the lightest"
    answer = _answer(mentions, order[:1], predicate)
    return QuestionAnswer(frames[int(rng.integers(len(frames)))], answer, "comparison", (order[0],))
