from __future__ import annotations

import json
from typing import Any

import pytest

from neuraltuning.errors import InputError
from neuraltuning.mmud.language import check_language
from neuraltuning.mmud.replies import Texts, Unusable, read_reply
from tests.mmud.chat_server import ANSWER, CAPTION, QUESTION

TEXTS = {"caption": CAPTION, "question": QUESTION, "answer": ANSWER}
GERMAN = "Der Regenschirm links steht aufgespannt neben den anderen Dingen und hält dich trocken."


def reply(**texts: Any) -> str:
    return json.dumps({**TEXTS, **texts})


@pytest.mark.parametrize(
    "text",
    [
        reply(),
        f"\n {reply()} \n",
        f"```json\n{reply()}\n```",
        f"```\n{reply()}```",
        f"  ```JSON\n{json.dumps(TEXTS, indent=2)}\n```\n",
        reply(caption=f" {CAPTION}\n"),
    ],
)
def test_json_is_read_with_and_without_a_fence(text: str) -> None:
    assert read_reply(text, "stop", "en") == Texts(**TEXTS)


@pytest.mark.parametrize(
    ("text", "ended", "reason", "detail"),
    [
        ("", "stop", "empty", "there is no text"),
        (" \n", "stop", "empty", "there is no text"),
        (reply(answer=" "), "stop", "empty", "there is no answer"),
        (reply()[:-20], "stop", "format", "invalid json: eof while parsing a string"),
        (f"Here you are: {reply()}", "stop", "format", "invalid json: expected value"),
        (f"[{reply()}]", "stop", "format", "input should be an object"),
        (json.dumps({"caption": CAPTION, "question": QUESTION}), "stop", "format", "answer: field required"),
        (reply(note="x"), "stop", "format", "note: extra inputs are not permitted"),
        (reply(answer=3), "stop", "format", "answer: input should be a valid string"),
        (reply(answer=[ANSWER]), "stop", "format", "answer: input should be a valid string"),
        ("[" * 5000, "stop", "format", "invalid json"),
        (reply(answer=ANSWER.replace("umbrella", "umbrella <OBJ-1>")), "stop", "format", "the answer holds a tag"),
        (reply(caption=CAPTION + " <OBJ>"), "stop", "format", "the caption holds a tag"),
        (reply(), "length", "cut_off", "it was longer than --max-tokens"),
        ("no", "content_filter", "refusal", "the server marks it with 'content_filter'"),
        ("no", "refusal", "refusal", "the server marks it with 'refusal'"),
        ("I'm sorry, but I can't help with that.", "stop", "refusal", "it says so"),
        (reply(answer="As an AI language model, I cannot see it."), "stop", "refusal", "the answer says so"),
        (reply(answer=GERMAN), "stop", "language", "the answer is in 'de'"),
        (
            reply(caption="一只红色的风筝在棕榈树上空飞翔。"),
            "stop",
            "language",
            "the caption is in 'zh'",
        ),
    ],
)
def test_what_is_unusable_says_why(text: str, ended: str, reason: str, detail: str) -> None:
    read = read_reply(text, ended, "en")
    assert isinstance(read, Unusable)
    assert read.reason == reason
    assert read.detail.startswith(detail)


def test_the_language_is_a_choice() -> None:
    german = {
        "caption": GERMAN,
        "question": "Welches dieser Dinge nimmst du bei Regen mit und warum?",
        "answer": GERMAN,
    }
    assert isinstance(read_reply(json.dumps(german), "stop", "de"), Texts)
    check_language("de")
    with pytest.raises(InputError, match="--language 'german' is unknown"):
        check_language("german")


def test_a_foreign_word_is_no_foreign_text() -> None:
    text = reply(caption=CAPTION.replace("plain", "plain, gemütlich, 赤い"))
    assert isinstance(read_reply(text, "stop", "en"), Texts)
