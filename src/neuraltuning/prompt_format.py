"""Between texts and token ids: the prompt's template, the reply's end, task tokens in the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import AddedToken, PreTrainedTokenizerBase


def add_task_tokens(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> list[int]:
    """Makes `names` single tokens of `tokenizer` (which is changed) and returns their ids.

    A token swallows the space before it, so that it follows the word it belongs to directly.
    """
    tokenizer.add_tokens([AddedToken(n, lstrip=True, normalized=False, special=False) for n in names])
    return [tokenizer.convert_tokens_to_ids(n) for n in names]


class PromptFormat:
    """Encodes prompts and replies and decodes replies, the same in training and in prediction.

    Attributes:
        bos_id: the token that opens every sequence, before the image tokens; None where the tokenizer has none.
        eos_id: the token that ends a reply.
        pad_id: fills batches; never attended to.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str, task_tokens: Sequence[str]) -> None:
        """Takes a tokenizer that already knows `task_tokens`; `template` contains "{prompt}" once."""
        self.tokenizer = tokenizer
        self.before, self.after = template.split("{prompt}")
        self.task_tokens = tuple(task_tokens)
        self.bos_id: int | None = tokenizer.bos_token_id
        eos = tokenizer.eos_token_id
        self.eos_id: int = int(eos[0] if isinstance(eos, list) else eos)
        self.pad_id: int = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_id)

    def prompt_ids(self, prompt: str) -> list[int]:
        """The token ids of a user's text inside the template; task tokens written by a user are ordinary text.

        An empty text gives what follows the text in the template alone.
        """
        if not prompt:
            return self._ids(self.after)
        for name in self.task_tokens:
            while name in prompt:  # without the brackets of one, another may appear: <<OBJ>>
                prompt = prompt.replace(name, name.strip("<>"))
        return self._ids(self.before + " ".join(prompt.split()) + self.after)

    def reply_ids(self, reply: str) -> list[int]:
        """The token ids of a reply, with the space that parts it from the prompt and the end of the reply."""
        return [*self._ids(" " + reply), self.eos_id]

    def conversation_ids(self, earlier: Sequence[tuple[str, str]], prompt: str) -> list[int]:
        """The token ids of a user's text behind the turns before it: each as in training, one after the other.

        Args:
            earlier: (prompt, reply) of each earlier turn, oldest first.
            prompt: the user's last text.
        """
        turns = [[*self.prompt_ids(asked), *self.reply_ids(reply)] for asked, reply in earlier]
        return [i for turn in turns for i in turn] + self.prompt_ids(prompt)

    def text(self, ids: Sequence[int]) -> str:
        """The reply that `ids` stand for: without its end, with one space before each task token."""
        return self.tidy(self.raw_text(ids))

    def raw_text(self, ids: Sequence[int]) -> str:
        """What the tokenizer makes of `ids`, without the reply's end."""
        text: str = self.tokenizer.decode(
            [i for i in ids if i != self.eos_id], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def tidy(self, text: str) -> str:
        """A text with one space before each task token and between words."""
        for name in self.task_tokens:
            # some tokenizers put a space behind an added token
            text = re.sub(rf"{re.escape(name)}\s+(?=[.,;:!?])", name, text).replace(name, " " + name)
        return " ".join(text.split())

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)
