"""Text that is given out while it grows: only what stays, and nothing of a stop text."""

from __future__ import annotations

import numpy as np
import pytest

from neuraltuning.prompt_format import PromptFormat, add_task_tokens
from neuraltuning.serving.text_stream import TextStream
from tests.tiny_models import tokenizer

TOKENS = ["<OBJ>", "<GEN>"]


def text_format(kind: str) -> PromptFormat:
    words = tokenizer(word_pieces=kind)
    add_task_tokens(words, TOKENS)
    return PromptFormat(words, "Question: {prompt}\nAnswer:", TOKENS)


FORMATS = {kind: text_format(kind) for kind in ("bytes", "metaspace")}


def streamed(words: PromptFormat, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """The pieces that come after each token, up to a stop text."""
    stream = TextStream(words, stop)
    pieces = []
    for n in range(1, len(ids) + 1):
        pieces.append(stream.grow(ids[:n]))
        if stream.stopped:
            return pieces, stream
    pieces.append(stream.grow(ids, last=True))
    return pieces, stream


def spell(words: PromptFormat, text: str) -> list[int]:
    return list(words.tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", range(40))
def test_pieces_add_up_to_the_text_whatever_tokens_come(kind: str, seed: int) -> None:
    words, rng = FORMATS[kind], np.random.default_rng(seed)
    special = spell(words, "<OBJ>") + spell(words, "<GEN>") + spell(words, "<") + spell(words, "OBJ>,.") + [2]
    ids = [int(rng.choice(special)) if rng.random() < 0.3 else int(rng.integers(3, 500)) for _ in range(60)]
    pieces, stream = streamed(words, ids)
    assert "".join(pieces) == stream.text == words.text(ids)
    if kind == "bytes":  # random bytes are broken characters, so this was no easy text
        assert "\ufffd" in words.text(ids)


@pytest.mark.parametrize(
    "text", ["Zoë at the café: 東京 🙂🙂 naïve", "a < b <OB, <OBJ <<OBJ> x<OBJ>, y<GEN> .", "one  two\n\nthree"]
)
def test_no_piece_holds_half_a_character(text: str) -> None:
    words = FORMATS["bytes"]
    ids = spell(words, " " + text)
    pieces, stream = streamed(words, ids)
    assert "\ufffd" not in "".join(pieces)
    assert stream.text == words.text(ids)
    assert sum(map(bool, pieces)) > 3


def test_a_task_token_comes_with_the_space_before_it() -> None:
    words = FORMATS["bytes"]
    ids = [*spell(words, " The cat"), *spell(words, "<OBJ>"), *spell(words, ".")]
    pieces, _ = streamed(words, ids)
    assert " <OBJ>" in pieces
    assert "".join(pieces) == "The cat <OBJ>."


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("The red square <OBJ> and the blue square <OBJ>.", "and", "The red square <OBJ> "),
        ("The red square <OBJ> and the blue square <OBJ>.", " and the", "The red square <OBJ>"),
        ("The red square <OBJ> and the blue square <OBJ>.", "<OBJ>", "The red square "),
        ("The red square <OBJ> and the blue square <OBJ>.", "square <OBJ> and", "The red "),
        ("The red square and the blue square.", "square.", "The red square and the blue "),
        ("How many squares are there, and which one is red?", "re", "How many squa"),
        ("The red square.", "nothing of this", "The red square."),
        ("The red square.", "square. And", "The red square."),
    ],
)
def test_nothing_of_a_stop_text_goes_out(kind: str, text: str, stop: str, left: str) -> None:
    words = FORMATS[kind]
    pieces, stream = streamed(words, spell(words, " " + text), ("zzz", stop))
    assert "".join(pieces) == stream.text
    assert stream.text.rstrip() == left.rstrip()
    assert stream.stopped == (stop in text)


def test_a_line_break_stops_though_it_is_given_out_as_a_space() -> None:
    words = FORMATS["bytes"]
    ids = spell(words, " red\nblue")
    assert streamed(words, ids)[1].text == "red blue"
    assert streamed(words, ids, ("\n",))[1].text == "red"


def test_the_first_of_several_stop_texts_counts_and_nothing_follows() -> None:
    words = FORMATS["bytes"]
    ids = spell(words, " one two three four")
    stream = TextStream(words, ("three", "two"))
    text = "".join(stream.grow(ids[:n]) for n in range(1, len(ids) + 1))
    assert (text.rstrip(), stream.stopped) == ("one", True)
    assert stream.grow([*ids, *ids], last=True) == ""


def test_it_is_known_which_tokens_went_out() -> None:
    words = FORMATS["bytes"]
    ids = [*spell(words, " The cat"), *spell(words, "<OBJ>"), *spell(words, " and the dog")]
    stream = TextStream(words, ("<OBJ> and",))
    place = ids.index(spell(words, "<OBJ>")[0]) + 1
    stream.grow(ids[:place])
    assert not stream.has(ids[:place])  # it may still belong to the stop text
    stream.grow(ids)
    assert stream.stopped
    assert not stream.has(ids[:place])
    other = TextStream(words)
    other.grow(ids[:place])
    assert other.has(ids[:place])
