"""The first rule of the journal paper's appendix A.1: texts that are nonsense, or no answer at all.

Each check looks for one thing that can be pointed at. What is well-formed and wrong only a person finds, in `review`.
The phrases are English. Knows nothing of models or files.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from neuraltuning.mmud.records import Annotation

DISTINCT = 0.5
"""Of a text's groups of three words so many must be different ones."""
LONG = 20
"""Words from which on that is asked."""
LETTERS = 0.5
"""Of a text's characters without spaces so many must be letters."""

_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?: am|'m) (?:so |very )?sorry,? (?:but )?(?:i|we)\b"
    r"|^\W*(?:sorry|i apologi[sz]e)\b"
    r"|\bi(?: am|'m) (?:not able|unable) to (?:see|view|access|assist|help|answer|provide|process|describe|identify)\b"
    r"|\bi (?:can't|cannot|can not|won't|will not|do not|don't) (?:\w+ )?"
    r"(?:see|view|access|assist|help (?:you|with)|answer|provide|process|comply|fulfil+|describe|discuss|identify)\b"
    r"|\bi (?:do not|don't) have (?:the ability|access|enough)\b"
    r"|\bno image (?:was|is|has been) (?:provided|attached|uploaded|given|visible)\b",
    re.IGNORECASE,
)
_ACKNOWLEDGEMENT = re.compile(
    r"(?:(?:yes|no|sure|certainly|of course|ok(?:ay)?|absolutely|definitely)\W*)*"
    r"(?:i (?:do |can |already )?(?:know|see|understand|agree|answer|tell|describe|think so|believe so)"
    r"(?: (?:that|this|it|the|you|your|to|question|questions|answer|answers|image|picture|what|mean))*\W*)?"
    r"(?:(?:here is|here's|this is|that is) (?:the|my|your|an) (?:answer|question|caption)\W*)?",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\blorem ipsum\b|\b(?-i:TODO|TBD|FIXME|XXX)\b"
    r"|^\W*(?:n/?a|none|null|string|text|caption|question|answer|unknown)\W*$"
    r"|[\[<{]\s*(?:insert|your|add|describe|object|caption|question|answer)\b[^\]>}]*[\]>}]",
    re.IGNORECASE,
)
_CHARACTERS = re.compile(r"([^\W\d_])\1{4,}", re.IGNORECASE)
_WORDS = re.compile(r"\b(\w+)(?:\W+\1\b){3,}|\b(\w+(?:\W+\w+){1,7})(?:\W+\2\b){2,}", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Whether a model says that it won't or can't answer."""
    return _REFUSAL.search(text.replace("\u2019", "'")) is not None


def meaningless(annotation: Annotation) -> str | None:
    """What makes an annotation meaningless, or None."""
    texts = {"caption": annotation.caption, "question": annotation.question, "answer": annotation.answer}
    for name, text in texts.items():
        for check in _CHECKS:
            if (found := check(text)) is not None:
                return f"{name}: {found}"
    caption, question, answer = (" ".join(words(text)) for text in texts.values())
    if answer == question:
        return "answer: it is the question"
    if answer == caption:
        return "answer: it is the caption"
    return None


def words(text: str) -> list[str]:
    """The words of a text, lower case: what stands between spaces and holds a letter or a digit, its edges trimmed."""
    return [trimmed for word in text.casefold().split() if (trimmed := re.sub(r"^[\W_]+|[\W_]+$", "", word))]


def _no_letters(text: str) -> str | None:
    characters = [character for character in text if not character.isspace()]
    if not characters:
        return "it is empty"
    share = sum(character.isalpha() for character in characters) / len(characters)
    return None if share >= LETTERS else f"only {share:.0%} of its characters are letters"


def _repeats_characters(text: str) -> str | None:
    found = _CHARACTERS.search(text)
    return f"{found[1]!r} stands {len(found[0])} times in a row" if found else None


def _repeats_words(text: str) -> str | None:
    if found := _WORDS.search(text):
        return f"{found[1] or found[2]!r} stands several times in a row"
    said = words(text)
    groups = list(zip(said, said[1:], said[2:], strict=False))
    if len(said) >= LONG and (share := len(set(groups)) / len(groups)) < DISTINCT:
        return f"only {share:.0%} of its groups of three words are different ones"
    return None


def _refuses(text: str) -> str | None:
    return "it is a refusal" if is_refusal(text) else None


def _only_acknowledges(text: str) -> str | None:
    return "it says nothing but that there is an answer" if _ACKNOWLEDGEMENT.fullmatch(text.strip()) else None


def _is_placeholder(text: str) -> str | None:
    found = _PLACEHOLDER.search(text)
    return f"it holds the placeholder {found[0].strip()!r}" if found else None


_CHECKS: tuple[Callable[[str], str | None], ...] = (
    _no_letters,
    _repeats_characters,
    _repeats_words,
    _refuses,
    _only_acknowledges,
    _is_placeholder,
)
