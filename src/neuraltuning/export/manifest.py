"""What `manifest.json` says of an exported folder: its files, and how to put a reply together with them.

Made for readers that have neither torch nor this package: shapes, number formats, checksums, how a picture is prepared
and a prompt written, and how the files join. docs/export.md explains it, docs/examples/onnx_reply.py reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from neuraltuning import __version__
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.export.check import TOLERANCE, Difference
from neuraltuning.export.mask_part import MaskPart
from neuraltuning.export.part import Part, hidden_name
from neuraltuning.model import MAX_NEW_TOKENS, MultitaskModel

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 2


def is_export(folder: Path) -> bool:
    """Whether an export wrote `folder`; other manifests, those of data sets, have no parts that join."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"parts", "joins"} <= set(found)


def describe_file(part: Part, path: Path, differences: Mapping[str, Difference]) -> dict[str, Any]:
    """What the manifest says of one part, whose file is at `path`."""
    model = onnx.load(path, load_external_data=False)
    files = [file for file in (path, path.with_name(path.name + ".data")) if file.is_file()]
    return {
        "does": part.does,
        "file": path.name,
        "sha256": {file.name: _sha256(file) for file in files},
        "bytes": sum(file.stat().st_size for file in files),
        "opset": next(opset.version for opset in model.opset_import if not opset.domain),
        "inputs": [_value(value) for value in model.graph.input],
        "outputs": [_value(value) for value in model.graph.output],
        "differs_from_pytorch": {name: asdict(difference) for name, difference in differences.items()},
    }


def describe_folder(
    model: MultitaskModel, parts: Mapping[str, Mapping[str, Any]], not_exported: Mapping[str, str]
) -> dict[str, Any]:
    """The whole manifest.

    Args:
        model: what was exported.
        parts: name -> what `describe_file` says of it.
        not_exported: what of the model is in no file -> why.
    """
    return {
        "format_version": FORMAT_VERSION,
        "made_with": {"neuraltuning": __version__, **{name: version(name) for name in ("torch", "onnx", "onnxscript")}},
        "checked_with": {"onnxruntime": version("onnxruntime"), "tolerance": TOLERANCE},
        "model": {
            "llm": model.settings.llm,
            "encoder": model.settings.encoder,
            "tuner": model.settings.tuner.method,
            "dtype": model.settings.dtype,
        },
        "parts": dict(parts),
        "not_exported": dict(not_exported),
        "picture": _picture(model.encoder),
        "text": _text(model),
        "masks": _masks(model) if MaskPart.name in parts else None,
        "joins": _joins(model, parts),
    }


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [side.dim_param or side.dim_value for side in tensor.shape.dim],
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _picture(encoder: ImageEncoder) -> dict[str, Any]:
    return {
        "steps": "upright, on white, RGB; stretched to size x size; divided by 255, less mean, divided by std; "
        "channels before rows",
        "size": encoder.image_size,
        "resample": "bicubic, antialiased, rounded to 8 bits (Pillow's BICUBIC)",
        "mean": list(encoder.image_mean),
        "std": list(encoder.image_std),
    }


def _text(model: MultitaskModel) -> dict[str, Any]:
    form = model.format
    return {
        "tokenizer": f"{TOKENIZER}/{TOKENIZER_FILE}",
        "writing": "the request without the brackets of task tokens, its words parted by single spaces, between "
        "`before` and `after`; encoded without special tokens",
        "before": form.before,
        "after": form.after,
        "bos_id": form.bos_id,
        "eos_id": form.eos_id,
        "task_tokens": dict(zip(form.task_tokens, model.task_tokens.ids.tolist(), strict=True)),
        "max_new_tokens": MAX_NEW_TOKENS,
        "max_length": model.language_model.config.get_text_config().max_position_embeddings,
        "reading": "decoded with special tokens but without the end; no space between a task token and the punctuation "
        "behind it, one before it; words parted by single spaces",
    }


def _masks(model: MultitaskModel) -> dict[str, Any]:
    bridge = next(model.bridge(name) for name in model.decoders if isinstance(model.decoder(name), MaskDecoder))
    said = (
        "embedding of the ids since the last task token, at first since the prompt's end, up to this task token; at "
        "least one position, filled up behind, where in_mention is false"
    )
    return {
        "token": MaskDecoder.token,
        "states": [{"output": hidden_name(layer), "at": place} for place, layer in bridge.sources],
        "places": "token: the position of the task token; predicting: the one before it. The states stand one behind "
        "the other, in this order",
        "said": said if bridge.n_words else None,
        "resize": "bilinear to the picture's size, half-pixel centres, no antialiasing",
        "inside": "where the logit is above 0",
        "score": "mean of sigmoid(logit) inside; 0 for an empty mask",
    }


def _joins(model: MultitaskModel, parts: Collection[str]) -> list[str]:
    """Where outputs go, in the order of a reply."""
    first = "" if model.format.bos_id is None else "embedding(bos_id), then "
    names = "" if model.naming is None else ", then projector.name_details + embedding(projector.name_ids)"
    joins = [
        "encoder.pixel_values: pictures as `picture` says",
        "projector.tokens: encoder.tokens",
        f"vectors of a picture: projector.patch_vectors{names}",
        f"language_model.inputs_embeds, first pass: {first}the vectors of the picture if there is one, then "
        "embedding(the request's ids, see `text`); in each further pass embedding(the id chosen last)",
        "language_model.attention_mask: 1 for each position up to now, 0 for padding, which stands in front",
        "language_model.position_ids: for each position the number of attended ones before it",
        "language_model.past_key_values.*: present.* of the pass before; of length 0 in the first pass",
        "the next id: where language_model.logits is largest; eos_id ends the reply and is not passed on",
    ]
    if MaskPart.name in parts:
        joins += [
            "mask_decoder.tokens, .map.*, .words, .boxes: those of encoder and projector",
            "mask_decoder.owners: which of these pictures each mask belongs to",
            "mask_decoder.replies, if it has them: the number of each mask's reply, whose masks stand in its order; a "
            "mask depends on those before it",
            "mask_decoder.states, .said, .in_mention: see `masks`",
        ]
    return joins
