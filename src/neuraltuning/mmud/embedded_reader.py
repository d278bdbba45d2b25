"""The embedded language model as the one that answers questions without their images: small, but always at hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neuraltuning.device import best_device
from neuraltuning.llm import EMBEDDED_LLM, load_llm
from neuraltuning.precision import resolve_dtype

NAME = EMBEDDED_LLM
BATCH = 16
LONGEST_PROMPT = 1024
LONGEST_ANSWER = 64
"""All in tokens, but for the batch."""


class EmbeddedReader:
    """Answers prompts greedily, each as if it were alone."""

    def __init__(self) -> None:
        self._device = best_device()
        model, self._tokenizer = load_llm(NAME, resolve_dtype("auto"))
        self._model = model.to(self._device)
        self._tokenizer.padding_side = "left"
        self._tokenizer.truncation_side = "left"

    @torch.inference_mode()
    def answers(self, prompts: Sequence[str]) -> list[tuple[str, int, int]]:
        """Answers, each with its numbers of input and output tokens."""
        texts = [
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            for prompt in prompts
        ]
        batch = self._tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=LONGEST_PROMPT,
            add_special_tokens=False,
        ).to(self._device)
        ids = self._model.generate(**batch, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        replies = ids[:, batch.input_ids.shape[1] :]
        lengths = batch.attention_mask.sum(1).tolist()
        return [
            (
                self._tokenizer.decode(reply, skip_special_tokens=True).strip(),
                length,
                int((reply != self._tokenizer.pad_token_id).sum()),
            )
            for reply, length in zip(replies, lengths, strict=True)
        ]
