"""Whole models small enough for tests: folders of tiny random LLMs and encoders, and settings that name them.

The language models are those of `tests.tuners.tiny`, the encoders those of `tests.encoders`; here they get tokenizers
and a place on disk, so that `MultitaskModel.build` and `from_pretrained` can name them.
"""

from __future__ import annotations

import string
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from neuraltuning.configuration import validate_settings
from neuraltuning.data.sample import ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.generation.prior import ImagePrior, PriorConfig
from neuraltuning.generation.tokenizer import ImageTokenizer, TokenizerConfig
from neuraltuning.model import MultitaskModel
from neuraltuning.model_settings import ModelSettings
from neuraltuning.reply import mask_box
from neuraltuning.tasks import captioning, referring_segmentation, text_to_image
from tests.encoders.test_transformers_vision import EMBEDDING, save
from tests.tuners.tiny import base_model, randomize

torch.set_num_threads(1)  # tiny tensors only lose by more

HIDDEN = 32
LAYERS = 3
TOKEN_COUNT = 500
"""Words of the tokenizers; Qwen2's vocabulary has more rows than its tokenizer has words, as the real one's."""

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "llama_tied": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True, "vocab_size": TOKEN_COUNT + 20},
    "qwen2_untied": {"tie_word_embeddings": False, "vocab_size": TOKEN_COUNT + 20},
    "gpt2": {},
    "gemma2": {"final_logit_softcapping": 30.0},
    "gemma3_text": {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
}
"""Name -> what sets this tiny language model apart; the part before "_tied" or "_untied" is transformers' name."""


def tokenizer(*, bos: bool = True, word_pieces: str = "bytes") -> PreTrainedTokenizerFast:
    """A small tokenizer; `word_pieces` is "bytes" (GPT-2, Llama 3, Qwen) or "metaspace" (Llama 2, Gemma)."""
    made = Tokenizer(BPE(unk_token="<unk>"))
    alphabet: list[str] = []
    if word_pieces == "bytes":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        alphabet = [*string.ascii_letters, *string.digits, *string.punctuation, "▁"]
    trainer = trainers.BpeTrainer(
        vocab_size=TOKEN_COUNT,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>" if bos else None, eos_token="</s>"
    )


def _texts() -> list[str]:
    """Sentences that become few tokens."""
    shown = sample()
    phrases = [p.text for o in shown.objects for p in o.phrases]
    texts = [r.format(p) for r in referring_segmentation.REQUESTS for p in phrases] + list(captioning.REQUESTS)
    texts += [r.format(c) for r in text_to_image.REQUESTS for c in shown.captions] + [text_to_image.REPLY]
    texts += [text for q in (*shown.reasoning, *shown.questions) for text in (q.question, q.answer)]
    return [f"Question: {text}\nAnswer: {text} {word}" for text in texts for word in (*phrases, "one two three four")]


def llm_folder(folder: Path, name: str = "llama", **settings: Any) -> Path:
    """Saves a tiny random language model of `FAMILIES` with its tokenizer; a folder that exists is taken as it is."""
    if folder.is_dir():
        return folder
    family = name.replace("_untied", "").replace("_tied", "")
    words = tokenizer(bos=family != "qwen2")
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": None}
    model = base_model(
        family,
        **{
            "vocab_size": len(words),
            "num_hidden_layers": LAYERS,
            "max_position_embeddings": 512,
            **ids,
            **FAMILIES[name],
            **settings,
        },
    )
    _spread(model)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Larger weights than transformers' initial ones, so that the model's states depend visibly on its input."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))


def encoder_folder(folder: Path, kind: str = "clip") -> Path:
    """Saves a tiny random vision model (4 x 4 patches of 32 pixels); a folder that exists is taken as it is."""
    return folder if folder.is_dir() else save(kind, folder)


def image_parts(folder: Path, embedding_size: int) -> dict[str, str]:
    """Saves a tiny random prior and image tokenizer; the settings of the image decoder that name them."""
    prior_path, tokenizer_path = folder / f"prior-{embedding_size}.safetensors", folder / "image_tokenizer.safetensors"
    if not prior_path.is_file():
        with torch.random.fork_rng():
            torch.manual_seed(4)
            prior = ImagePrior(
                PriorConfig("tiny", embedding_size, 6, 20, 4, hidden_size=32, layers=1, heads=2, intermediate_size=32)
            )
            prior.component_basis.copy_(torch.linalg.qr(torch.randn(embedding_size, 6)).Q)
            prior.save(prior_path)
            ImageTokenizer(TokenizerConfig(16, 4, (8,), 4, 20)).save(tokenizer_path)
    return {"prior": str(prior_path), "tokenizer": str(tokenizer_path)}


def model_settings(folder: Path, family: str = "llama", kind: str = "clip", **changes: Any) -> ModelSettings:
    """Settings of a tiny model whose frozen parts lie in `folder`, where they are saved if they are not there yet."""
    return validate_settings(ModelSettings, model_values(folder, family, kind, **changes), "the test")


def model_values(folder: Path, family: str = "llama", kind: str = "clip", **changes: Any) -> dict[str, Any]:
    """`model_settings` as plain values; `changes` replace keys."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "llm": str(llm_folder(folder / family, family)),
        "encoder": str(encoder_folder(folder / kind, kind)),
        "dtype": "float32",
        "projector_size": 24,
        "tuner": {
            "method": "neural_tuning",
            "settings": {"neural_tuning": {"d_z": 16}, "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}},
        },
        "state": {"words": 2, "size": 24, "sources": [["predicting", 2], ["token", -1]]},
        "decoders": {
            "mask": {"channels": [32, 32, 32, 32], "attention_layers": [1, 0, 0], "bce_weight": 1.0},
            "image": {"hidden_size": 16, **image_parts(folder, EMBEDDING[kind])},
        },
        **changes,
    }


def lively(model: MultitaskModel, seed: int = 5) -> MultitaskModel:
    """Gives the parts that start at zero values of a visible size; replies name task tokens often."""
    randomize(model.llm, seed=seed)
    with torch.no_grad():
        for name, parameter in model.trainable_parameters().items():
            if not parameter.any():
                own = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))  # whatever other parts there are
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=own))
        generator = torch.Generator().manual_seed(seed)
        for rows, size in ((model.task_tokens.input_rows, 0.3), (model.task_tokens.output_rows, 0.8)):
            rows.copy_(size * torch.randn(rows.shape, generator=generator))
        if "mask" in model.decoders:
            for name, parameter in model.decoders["mask"].named_parameters():
                if name in ("out.bias", "pointing.within"):
                    parameter.zero_()  # else masks are empty, or full
    return model.eval()


def sample(number: int = 0, side: tuple[int, int] = (40, 48)) -> Sample:
    """A red square and a blue square on white, at (height, width) `side` pixels; `number` moves them."""
    height, width = side
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    places = {"red": (4 + number % 5, 3 + number % 7), "blue": (height - 18 - number % 3, width - 16 - number % 4)}
    colors = {"red": (220, 20, 20), "blue": (20, 20, 220)}
    objects = []
    for color, (top, left) in places.items():
        mask = np.zeros((height, width), dtype=bool)
        mask[top : top + 12, left : left + 10] = True
        pixels[mask] = colors[color]
        phrases = (Phrase(f"the {color} square", "attribute"),)
        objects.append(ObjectAnnotation("square", "shape", mask, mask_box(mask), phrases))
    return Sample(
        id=f"squares-{number}",
        image=Image.fromarray(pixels),
        objects=tuple(objects),
        captions=("A red square and a blue square.", "Two squares."),
        reasoning=(QuestionAnswer("Which is like the sky?", "The blue square <OBJ> is like the sky.", "color", (1,)),),
        questions=(
            QuestionAnswer("How many squares?", "2", "count"),
            QuestionAnswer("Is there a cat?", "no", "yes_no"),
        ),
        source="squares",
    )
