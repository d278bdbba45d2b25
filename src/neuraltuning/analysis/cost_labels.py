"""What costs are called, and what is counted; loads nothing, for the terminal and the report alike."""

from __future__ import annotations

CONVENTIONS = (
    "Counted are matrix products and convolutions of one forward pass over image, prompt and reply, with the head of "
    "the language model at every position and attention scores in full, not causally halved. A "
    "multiply-add counts as two operations; half of that are MACs, which some papers call FLOPs."
)
LABELS = {
    "neural_tuning": "neural tuning",
    "lora": "LoRA",
    "prefix_tuning": "prefix tuning",
    "mit": "infusion tuning (MiT; from its formulas)",
    "sam_decoder": "LoRA and SAM as decoder (LISA's kind)",
}
PART_LABELS = {"encoder": "encoder", "projector": "projector", "llm": "LLM", "tuner": "tuner", "decoder": "decoder"}
