"""Texts to token ids and back: templates, the reply's end, task tokens, and what a user may write."""

from __future__ import annotations

from typing import Any

import pytest

from neuraltuning.prompt_format import PromptFormat, add_task_tokens
from tests.tiny_models import tokenizer

TEMPLATE = "Question: {prompt}\nAnswer:"
NAMES = ("<OBJ>", "<GEN>")
KINDS: dict[str, dict[str, Any]] = {"bytes": {}, "no bos": {"bos": False}, "metaspace": {"word_pieces": "metaspace"}}


@pytest.fixture(params=list(KINDS))
def form(request: pytest.FixtureRequest) -> PromptFormat:
    words = tokenizer(**KINDS[request.param])
    add_task_tokens(words, NAMES)
    return PromptFormat(words, TEMPLATE, NAMES)


REPLIES = (
    "The blue square <OBJ>.",
    "The red square <OBJ> and the blue square <OBJ>.",
    "The red square <OBJ>, the blue square <OBJ> and the red square <OBJ>.",
    "Here is the picture <GEN>.",
    "2",
    "<OBJ> <OBJ>",
    "Two squares",
)


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_reads_back_as_it_was_written(form: PromptFormat, reply: str) -> None:
    ids = form.reply_ids(reply)
    assert ids[-1] == form.eos_id
    assert form.text(ids) == form.text(ids[:-1]) == reply


@pytest.mark.parametrize("reply", REPLIES)
def test_each_task_token_is_one_token_and_swallows_the_space_before_it(form: PromptFormat, reply: str) -> None:
    ids = form.reply_ids(reply)
    for name in NAMES:
        token_id = form.tokenizer.convert_tokens_to_ids(name)
        assert ids.count(token_id) == reply.count(name)
    without_spaces = reply.replace(" <", "<")
    assert form.reply_ids(without_spaces) == ids


def test_new_tokens_stand_behind_the_vocabulary(form: PromptFormat) -> None:
    words = tokenizer()
    before = len(words)
    assert add_task_tokens(words, NAMES) == [before, before + 1]
    assert add_task_tokens(words, NAMES) == [before, before + 1]  # again, nothing happens


def test_the_template_stands_around_the_text(form: PromptFormat) -> None:
    ids = form.prompt_ids("Please segment the red square.")
    assert form.tokenizer.decode(ids).strip() == "Question: Please segment the red square.\nAnswer:"
    assert form.bos_id not in ids


def test_white_space_does_not_change_a_prompt(form: PromptFormat) -> None:
    assert form.prompt_ids("  Please\n segment\tthe red  square. ") == form.prompt_ids("Please segment the red square.")


def test_an_empty_prompt_gives_what_opens_the_reply(form: PromptFormat) -> None:
    assert form.tokenizer.decode(form.prompt_ids("")).strip() == "Answer:"


@pytest.mark.parametrize("text", ["<OBJ>", "a<GEN>b", "<<OBJ>>", "<<<OBJ>>>", "<<GEN>OBJ>", "<OB<GEN>J>", "< OBJ >"])
def test_task_tokens_of_a_user_are_ordinary_text(form: PromptFormat, text: str) -> None:
    ids = form.prompt_ids(f"Segment {text}.")
    for name in NAMES:
        assert form.tokenizer.convert_tokens_to_ids(name) not in ids
    assert "OBJ" in form.tokenizer.decode(ids) or "GEN" in form.tokenizer.decode(ids)


def test_a_list_of_end_tokens_gives_its_first() -> None:
    words = tokenizer()
    assert PromptFormat(words, TEMPLATE, ()).eos_id == words.convert_tokens_to_ids("</s>")
    assert PromptFormat(words, TEMPLATE, ()).pad_id == words.convert_tokens_to_ids("</s>")
