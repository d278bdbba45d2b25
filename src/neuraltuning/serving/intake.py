"""From a query to a request that can be answered: checks it and makes tokens of it. Runs in the asking thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from neuraltuning.errors import InputError
from neuraltuning.generate import opening
from neuraltuning.model import MAX_NEW_TOKENS
from neuraltuning.serving.answering import Answering
from neuraltuning.serving.engine_types import ChatQuery, ConversationTooLong, EarlierTurns, OnEvent
from neuraltuning.serving.remembered import image_digest
from neuraltuning.serving.turns import refers_back

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel

TOKEN_LETTERS = 40
"""A token is rarely longer: texts that are much too long are refused before they are read."""


def make_answering(model: MultitaskModel, query: ChatQuery, on_event: OnEvent, earlier: EarlierTurns) -> Answering:
    """A request that can wait for its turn.

    Args:
        model: answers it.
        query: what is asked.
        on_event: gets what becomes of it.
        earlier: when its earlier turns are read.

    Raises:
        InputError: a setting is out of range, the text is empty, or the conversation is too long for the model.
    """
    _check_settings(query)
    longest = query.max_new_tokens or MAX_NEW_TOKENS
    limit = model.language_model.config.get_text_config().max_position_embeddings
    start = opening(model, query.image is not None)
    read = earlier == "always" or (earlier == "referred" and refers_back(query.text))
    turns = query.earlier if read else ()
    letters = len(query.text) + sum(len(asked) + len(reply) for asked, reply in turns)
    if letters > TOKEN_LETTERS * limit:
        raise ConversationTooLong(
            f"The conversation has {letters:,} characters, and the model has room for {limit:,} tokens; shorten it or "
            "leave out earlier turns."
        )
    ids = [*start, *model.format.conversation_ids(turns, query.text)]
    if len(ids) + longest > limit:
        raise ConversationTooLong(
            f"The conversation has {len(ids):,} tokens, those of its image among them, and the reply may have "
            f"{longest:,} more; the model has room for {limit:,}. Shorten it, leave out earlier turns, or ask for a "
            "shorter reply."
        )
    if query.image is not None:
        mention = len(ids)
    else:
        mention = len(ids) - len(model.format.prompt_ids(query.text)) if turns else 0
    digest = None if query.image is None else image_digest(query.image)
    return Answering(query, ids, mention, longest, digest, model.format, on_event)


def _check_settings(query: ChatQuery) -> None:
    if not query.text.strip():
        raise InputError("The text is empty; say what to do, for example: Please segment the cat.")
    if not (math.isfinite(query.temperature) and query.temperature >= 0.0):
        raise InputError(f"The temperature is {query.temperature}; give 0 for the likeliest reply, or a number above.")
    if not 0.0 < query.top_p <= 1.0:
        raise InputError(f"top_p is {query.top_p}; it is a probability above 0, at most 1.")
    if query.max_new_tokens is not None and query.max_new_tokens < 1:
        raise InputError(f"The longest reply is {query.max_new_tokens} tokens; give at least 1.")
    if not 0 <= query.seed < 2**63:
        raise InputError(f"The seed is {query.seed}; give a whole number from 0 to {2**63 - 1}.")
    if not all(query.stop):
        raise InputError("A stop text is empty; leave it out.")
