"""Rows of new tokens beside a frozen vocabulary, with tied, untied, padded and scaled embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neuraltuning.task_tokens import TaskTokens
from tests.tuners.tiny import HIDDEN, VOCABULARY, base_model, tokens

PADDED = VOCABULARY - 5
"""The first new id where the vocabulary has more rows than the tokenizer has words."""

CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "tied": ({"family": "llama", "tie_word_embeddings": True}, [VOCABULARY, VOCABULARY + 1]),
    "untied": ({"family": "llama", "tie_word_embeddings": False}, [VOCABULARY, VOCABULARY + 1]),
    "padded tied": ({"family": "qwen2", "tie_word_embeddings": True}, [PADDED, PADDED + 1]),
    "padded untied": ({"family": "qwen2", "tie_word_embeddings": False}, [PADDED, PADDED + 1]),
    "partly padded": ({"family": "qwen2"}, [VOCABULARY - 1, VOCABULARY]),
    "scaled": ({"family": "gemma3_text"}, [VOCABULARY, VOCABULARY + 1]),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Any, TaskTokens]:
    settings, ids = CASES[request.param]
    llm = base_model(**settings)
    return llm, TaskTokens(ids, llm)


def test_known_tokens_keep_their_vectors_and_new_ones_have_their_own(case: tuple[Any, TaskTokens]) -> None:
    llm, new = case
    nn.init.normal_(new.input_rows)
    ids = tokens(2, 6)
    ids[0, 2], ids[1, 4] = new.ids[1], new.ids[0]
    embedded = new.embed(llm.get_input_embeddings(), ids)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded[0, 2], new.input_rows[1])
    torch.testing.assert_close(embedded[1, 4], new.input_rows[0])
    known = ~torch.isin(ids, new.ids)
    torch.testing.assert_close(embedded[known], llm.get_input_embeddings()(ids[known]))


def test_new_columns_of_the_logits_come_from_the_new_rows_alone(case: tuple[Any, TaskTokens]) -> None:
    llm, new = case
    nn.init.normal_(new.output_rows)
    hidden = torch.randn(5, HIDDEN)
    head = llm.get_output_embeddings()
    logits = new.logits(head, hidden)
    assert logits.shape == (5, max(VOCABULARY, int(new.ids.max()) + 1))
    torch.testing.assert_close(logits[:, new.ids], hidden @ new.output_rows.T)
    old = [i for i in range(VOCABULARY) if i not in new.ids.tolist()]
    torch.testing.assert_close(logits[:, old], head(hidden)[:, old])


def test_only_the_new_rows_learn(case: tuple[Any, TaskTokens]) -> None:
    llm, new = case
    llm.requires_grad_(False)
    ids = torch.cat([tokens(1, 4), new.ids[None]], dim=1)
    embedded = new.embed(llm.get_input_embeddings(), ids)
    hidden = torch.randn(len(new.ids), HIDDEN)
    logits = new.logits(llm.get_output_embeddings(), hidden)
    (embedded.square().sum() + logits[:, new.ids].square().sum() + logits.logsumexp(-1).sum()).backward()
    assert set(dict(new.named_parameters())) == {"input_rows", "output_rows"}
    for name, rows in new.named_parameters():
        assert rows.shape == (len(new.ids), HIDDEN), name
        assert rows.grad is not None, name
        assert (rows.grad.abs().sum(1) > 0).all(), name
    assert all(p.grad is None for p in llm.parameters())


def test_the_language_model_keeps_its_size_and_its_weights() -> None:
    llm = base_model("llama")
    before = {name: value.clone() for name, value in llm.state_dict().items()}
    TaskTokens([VOCABULARY, VOCABULARY + 1], llm)
    after = llm.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_new_tokens_start_as_the_mean_of_what_the_layers_are_given(case: tuple[Any, TaskTokens]) -> None:
    """Also where the embedding module scales its rows (Gemma), and in the head as the mean logit."""
    llm, new = case
    every = llm.get_input_embeddings()(torch.arange(VOCABULARY)).detach()
    torch.testing.assert_close(new.input_rows.detach(), every.mean(0).expand(len(new.ids), -1))
    hidden = torch.randn(3, HIDDEN)
    head = llm.get_output_embeddings()
    logits = new.logits(head, hidden)
    torch.testing.assert_close(logits[:, new.ids[0]], head(hidden).mean(-1), atol=1e-5, rtol=1e-4)


def test_ids_that_no_row_stands_for_are_never_the_likeliest() -> None:
    llm = base_model("llama")
    new = TaskTokens([VOCABULARY + 3], llm)
    logits = new.logits(llm.get_output_embeddings(), torch.randn(4, HIDDEN))
    assert logits.shape == (4, VOCABULARY + 4)
    assert torch.isfinite(logits).all()
    assert (logits.softmax(-1)[:, VOCABULARY : VOCABULARY + 3] == 0).all()


def test_a_model_without_new_tokens_is_the_language_model() -> None:
    llm = base_model("llama")
    none = TaskTokens([], llm)
    ids = tokens(1, 5)
    torch.testing.assert_close(none.embed(llm.get_input_embeddings(), ids), llm.get_input_embeddings()(ids))
    hidden = torch.randn(2, HIDDEN)
    torch.testing.assert_close(none.logits(llm.get_output_embeddings(), hidden), llm.get_output_embeddings()(hidden))
