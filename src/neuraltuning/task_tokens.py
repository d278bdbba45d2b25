"""New tokens beside a frozen vocabulary: trainable rows for them alone. Knows nothing of what the tokens mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@torch.no_grad()
def vocabulary_vectors(llm: PreTrainedModel) -> Tensor:
    """(vocabulary, D) float32, the vectors that the LLM's layers get for its tokens, scaled where it scales them."""
    embedding = llm.get_input_embeddings()
    weight = embedding.weight
    return embedding(torch.arange(weight.shape[0], device=weight.device)).float()


class TaskTokens(nn.Module):
    """Input and output rows of K new tokens; the LLM's own embedding and head keep their size and stay frozen.

    The rows live outside the LLM, so tied and untied heads are treated alike: a new token has one input row and one
    output row, both starting at the mean of the LLM's rows (an average token, so that no logit stands out at first).

    Attributes:
        ids: (K,) int64 token ids in the tokenizer, in the order of the rows.
    """

    ids: Tensor

    def __init__(self, ids: Sequence[int], llm: PreTrainedModel) -> None:
        """Makes the rows.

        Args:
            ids: of the new tokens, as the tokenizer gives them.
            llm: a causal language model; it is not changed.
        """
        super().__init__()
        self.register_buffer("ids", torch.tensor(list(ids), dtype=torch.int64), persistent=False)
        head = llm.get_output_embeddings().weight
        self.vocabulary_size = max(head.shape[0], max(ids, default=0) + 1)
        self.input_rows = nn.Parameter(vocabulary_vectors(llm).mean(0).repeat(len(ids), 1))
        self.output_rows = nn.Parameter(head.detach().float().mean(0).repeat(len(ids), 1))

    def embed(self, embedding: nn.Module, ids: Tensor) -> Tensor:
        """The input vectors of `ids`: (..., ) int64 -> (..., D) float32, new tokens from their own rows.

        `embedding` is the LLM's input embedding module, so that whatever scaling it applies to its rows stays.
        """
        is_new = ids.unsqueeze(-1) == self.ids
        known = embedding(ids.masked_fill(is_new.any(-1), 0)).float()
        new = is_new.to(self.input_rows.dtype) @ self.input_rows
        return torch.where(is_new.any(-1, keepdim=True), new, known)

    def logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """(N, D) last hidden states -> (N, vocabulary_size) float32 logits, new tokens' columns from their own rows."""
        known = head(hidden).float()
        new = hidden.float() @ self.output_rows.T
        missing = self.vocabulary_size - known.shape[-1]
        if missing > 0:
            known = torch.cat([known, known.new_full((*known.shape[:-1], missing), torch.finfo(known.dtype).min)], -1)
        return known.index_copy(-1, self.ids, new)
