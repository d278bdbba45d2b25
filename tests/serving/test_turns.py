"""Which texts refer back to what was said before."""

from __future__ import annotations

import numpy as np
import pytest

from neuraltuning.serving.turns import refers_back
from neuraltuning.tasks import captioning, referring_segmentation
from tests.tiny_models import sample


@pytest.mark.parametrize(
    "text",
    [
        "Segment it.",
        "What colour is it?",
        "And what is to the left of it?",
        "Where are they?",
        "What is its colour?",
        "How many of them are red?",
        "Segment the other one, please.",
        "Mark that one in the picture.",
        "What is that?",
        "Do the same for the dog.",
        "And again!",
        "IT",
    ],
)
def test_a_pronoun_refers_back(text: str) -> None:
    assert refers_back(text)


@pytest.mark.parametrize(
    "text",
    [
        "Segment the cat.",
        "Where is the cat in the picture? Please mark it.",
        "What is in this picture?",
        "Show me the coat that is pink.",
        "Which of these is the heaviest in real life?",
        "Segment the bucket between the dog and its bowl.",
        "Please segment the bus between the two other buses.",
        "I am looking for something that has green florets. What is it?",
        "the lower one of the two pigs",
        "?!",
        "",
    ],
)
def test_what_the_text_names_itself_does_not(text: str) -> None:
    assert not refers_back(text)


def test_the_requests_of_training_stand_alone() -> None:
    """So that they are answered as well in a conversation as without one."""
    task = referring_segmentation.ReferringSegmentation()
    for seed in range(20):
        for example in task.examples(sample(), np.random.default_rng(seed), held_out_wordings=seed % 2 == 0):
            assert not refers_back(example.prompt)
    assert not any(map(refers_back, captioning.REQUESTS))
