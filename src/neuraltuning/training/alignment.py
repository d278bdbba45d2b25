"""Closed-form starts from images and texts: image tokens become the words for what they show, words become pictures.

Ridge regressions from the frozen encoder's tokens to the LLM's input vectors of class names, and from the mean input
vector of a text to the embedding of the picture that it asks for. They use masks, class names and captions of training
images and no pass of the LLM; they are a start for the tuning and no part of the papers' method.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.model import MultitaskModel
from neuraltuning.naming import UNKNOWN
from neuraltuning.packing import Packer
from neuraltuning.projector import PART
from neuraltuning.task_tokens import vocabulary_vectors
from neuraltuning.tasks import Example, Task
from neuraltuning.wording import BACKGROUND, Thing

COVERED = 0.25
"""An image token shows an object if the object covers this share of its cell, else the background."""
BACKGROUND_SHARE = 0.5
"""Of the tokens that show the background this share is used: they are many and alike."""
BACKGROUND_SHARE_OF_WORDS = 0.3
"""Of those this share is used for the projector."""
FUNCTION_WORDS = frozenset(["the", "a", "an", "that", "which", "who", "is", "are", "in", "with", "of", "and"])
"""What a phrase says beside a class name and an attribute."""
BACKGROUND_WORDS = 5
"""Longer texts about a background are not its description."""
FOR_PAIRS = 8
"""Of so many images one, the last ones, teaches which patches show one object and nothing else of the naming."""
BATCH = 32
TEXTS = 2
"""Examples of each drawing task an image."""
TEXT_LENGTH = 1024
"""Positions that such a text may take."""


@torch.no_grad()
def align(model: MultitaskModel, samples: Sequence[Sample], n_images: int, seed: int, tasks: Sequence[Task]) -> float:
    """Fits the projector's linear map, the names, and the decoders of whole pictures on the first images of a split.

    Args:
        model: its projector, naming and decoders are changed.
        samples: a training split; objects need masks.
        n_images: how many images are used, at most as many as there are.
        seed: of the choice of background tokens and of texts.
        tasks: those of the mixture; the texts of the ones that draw an image are used.

    Returns:
        The share of the images' object tokens that come out nearest to the right word, among all words that occur.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    drawing = [task for task in tasks if task.tokens and not any(_about_input(model, t) for t in task.tokens)]
    names: dict[str, int] = {BACKGROUND: 0}
    tokens, classes, attributes, backgrounds, places, boxes, embeddings = [], [], [], [], [], [], []
    images, whole, owners = [], [], []
    texts: list[tuple[int, Example]] = []
    n_images = min(n_images, len(samples))
    n_fitted = max(1, n_images - math.ceil(n_images / FOR_PAIRS))
    outline_fits = [fit for name in model.decoders if (fit := model.decoder(name).outline_fit(n_images)) is not None]
    starts = range(0, n_images, BATCH)
    for start in track(starts, description="Aligning the projector", console=Console(stderr=True)):
        batch = [samples[i] for i in range(start, min(n_images, start + BATCH))]
        objects = [shown_objects(s, model.encoder.grid) for s in batch]
        shown = torch.from_numpy(np.concatenate([shown_words(*one, names) for one in zip(batch, objects, strict=True)]))
        said = np.concatenate([shown_attributes(*one) for one in zip(batch, objects, strict=True)])
        outlines = torch.from_numpy(
            np.concatenate([shown_boxes(*one, model.encoder.grid) for one in zip(batch, objects, strict=True)])
        )
        pixels = model.encoder.preprocess([s.image for s in batch])
        features = model.encoder(pixels.to(model.device), embedding=bool(drawing))
        if features.embedding is not None:
            embeddings.append(features.embedding)
        for fit in outline_fits:
            fit(features, [[o.mask for o in s.objects] for s in batch])
        used = (shown > 0) | ((shown == 0) & (torch.rand(len(shown), generator=generator) < BACKGROUND_SHARE))
        tokens.append(features.tokens.flatten(0, 1)[used].half())
        classes.append(shown[used])
        places.append(used.nonzero()[:, 0] % features.tokens.shape[1])
        images.append(start + used.nonzero()[:, 0] // features.tokens.shape[1])
        for_pairs = slice(max(0, n_fitted - start), None)
        whole.append(features.tokens[for_pairs].half())
        owners += objects[for_pairs]
        boxes.append(outlines[used])
        attributes.append(said[used.numpy()])
        around = [np.where(own < 0, background_of(s), "") for s, own in zip(batch, objects, strict=True)]
        backgrounds.append(np.concatenate(around)[used.numpy()])
        for place, sample in enumerate(batch):
            asked = [e for task in drawing for _ in range(TEXTS) for e in task.examples(sample, rng)]
            texts += [(start + place, example) for example in asked]
    if texts:
        _fit_drawing(model, texts, torch.cat(embeddings))
    token, shown = torch.cat(tokens), torch.cat(classes).to(model.device)
    if model.naming is not None:
        n = int((torch.cat(images) < n_fitted).sum())
        model.naming.fit(
            token[:n],
            shown[:n],
            [_spelling(model, name) for name in names],
            *_numbered(model, np.concatenate(attributes)[:n]),
            *_numbered(model, np.concatenate(backgrounds)[:n]),
            torch.cat(places)[:n].to(shown.device),
            torch.cat(boxes)[:n].to(shown.device),
            torch.cat(whole),
            torch.tensor(np.array(owners, dtype=np.int64), device=shown.device),
            seed,
        )
    used = (shown > 0) | (torch.rand(len(shown), generator=generator) < BACKGROUND_SHARE_OF_WORDS).to(shown.device)
    return _fit_projector(model, token[used], shown[used], list(names))


def _numbered(model: MultitaskModel, texts: NDArray[np.str_]) -> tuple[Tensor, list[list[int]]]:
    """For each text its number, and the spelling of each number; that of "" is 0."""
    words, numbers = np.unique(np.append(texts, ""), return_inverse=True)  # sorted, so that "" comes first
    return torch.from_numpy(numbers[:-1]).to(model.device), [_spelling(model, str(word)) for word in words]


def _about_input(model: MultitaskModel, token: str) -> bool:
    return model.decoder_of(token)[1].about_input


def _fit_projector(model: MultitaskModel, token: Tensor, place: Tensor, names: Sequence[str]) -> float:
    """The fit; token (N, C) image tokens, place (N,) which of the `names` each shows."""
    vectors = word_vectors(model, names)
    center = model.word_mean
    size = vectors.norm(dim=-1).mean()
    counts = torch.bincount(place, minlength=len(names)).clamp_min(1).float()
    weights = counts.rsqrt()[place]  # rare classes count more, short of equally
    words = F.normalize(vectors, dim=-1)[place] * size + center
    model.projector.fit(token, words, weights)
    objects = place > 0
    known = F.normalize(vectors, dim=-1).T
    said = [F.normalize(model.projector.say(part) - center, dim=-1) @ known for part in token[objects].split(PART)]
    return float((torch.cat(said).argmax(-1) == place[objects]).float().mean())


def _fit_drawing(model: MultitaskModel, texts: Sequence[tuple[int, Example]], embeddings: Tensor) -> None:
    """Fits decoders on (image, example) pairs, from the words of the texts alone."""
    packer = Packer(model, TEXT_LENGTH, text_only=True)
    found: dict[str, tuple[list[Tensor], list[int]]] = {}
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        batch = packer([[example] for _, example in part]).to(model.device)
        embeds = model.embed(batch.input_ids)
        for token, at in batch.tokens.items():
            states, owners = found.setdefault(token, ([], []))
            states.append(model.bridge(model.decoder_of(token)[0]).read_words(embeds, at.rows, at.starts, at.positions))
            owners += [part[i][0] for i in at.examples.tolist()]
    features = ImageFeatures(embeddings[:, :0], (), embeddings)
    for token, (states, owners) in found.items():
        model.decoder_of(token)[1].fit(torch.cat(states), features, torch.tensor(owners, device=model.device), None)


def shown_words(sample: Sample, objects: NDArray[np.int64], names: dict[str, int]) -> NDArray[np.int64]:
    """For each image token the number of the word for what it shows, (P,); new class names are added to `names`.

    `UNKNOWN` for an object without a class name. `objects` is what `shown_objects` gave.
    """
    numbers = [names.setdefault(o.category, len(names)) if o.category else UNKNOWN for o in sample.objects]
    return np.array([*numbers, 0])[objects]


def shown_attributes(sample: Sample, objects: NDArray[np.int64]) -> NDArray[np.str_]:
    """For each image token the attribute of the object that it shows, (P,); "" for background and where none is known.

    An attribute is one word: what a phrase that singles the object out by it says beside the class name, "the car that
    is red" -> "red"; or what stands between article and class name in a caption, if no other object has the class.
    """
    return np.array([*(attribute_of(sample, o) for o in sample.objects), ""], dtype=np.str_)[objects]


def attribute_of(sample: Sample, annotation: ObjectAnnotation) -> str:
    """The attribute of an object of the sample, see `shown_attributes`; "" where none is known."""
    category = re.escape(annotation.category)
    for phrase in annotation.phrases:
        if phrase.kind == "attribute":
            left = re.sub(rf"\b{category}\b", " ", phrase.text, flags=re.IGNORECASE).lower().split()
            words = [word for word in left if word not in FUNCTION_WORDS]
            if len(words) == 1:
                return words[0]
    if sum(o.category == annotation.category for o in sample.objects) > 1:
        return ""  # a caption doesn't tell which of them it means
    pattern = re.compile(rf"\b(?:the|an?) (\w+) {category}\b", re.IGNORECASE)
    return next((found[1].lower() for text in sample.captions if (found := pattern.search(text))), "")


def background_of(sample: Sample) -> str:
    """What a caption says of the background: "a striped green background" -> "striped green"; "" where none does.

    Or "The background is striped and green.", "a background that fades from red to blue" -> "fades from red to blue".
    """
    for text in sample.captions:
        for pattern in (rf"\b(?:the|an?) ((?:\w+ ){{1,2}}){BACKGROUND}\b", rf"\b{BACKGROUND} (?:is|that) ([^.,;]+)"):
            for said in re.findall(pattern, text, flags=re.IGNORECASE):
                words = [word for word in said.lower().split() if word not in FUNCTION_WORDS]
                if words and len(words) <= BACKGROUND_WORDS:
                    return " ".join(words)
    return ""


def shown_boxes(sample: Sample, objects: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.float32]:
    """For each image token the box of the object that it shows, (P, 4): row and column of the centre, height and width,
    in patches; zeros for background."""
    height, width = sample.image.height / grid[0], sample.image.width / grid[1]
    boxes = [
        ((y + h / 2) / height, (x + w / 2) / width, h / height, w / width)
        for x, y, w, h in (o.box for o in sample.objects)
    ]
    return np.array([*boxes, (0.0, 0.0, 0.0, 0.0)], dtype=np.float32)[objects]


def shown_objects(sample: Sample, grid: tuple[int, int]) -> NDArray[np.int64]:
    """For each image token the number of the object that it shows, (P,); -1 for background."""
    shown = np.full(grid, -1, dtype=np.int64)
    best = np.full(grid, COVERED)
    for number, o in enumerate(sample.objects):
        pixels = torch.from_numpy(o.mask)[None, None].float()
        covered = F.adaptive_avg_pool2d(pixels, grid)[0, 0].numpy()
        larger = covered > best
        shown[larger] = number
        best[larger] = covered[larger]
    return shown.ravel()


def true_description(model: MultitaskModel, sample: Sample) -> list[int]:
    """Token ids of what the model's naming would say of an image if it saw all that is annotated."""
    naming = model.naming
    assert naming is not None
    things = []
    for annotation in sample.objects:
        x, y, w, h = annotation.box
        row, column = (y + h / 2) / sample.image.height, (x + w / 2) / sample.image.width
        attribute = attribute_of(sample, annotation)
        said = _spelling(model, attribute) if attribute else []
        things.append(Thing(said, _spelling(model, annotation.category), row, column))
    spellings = [spelling for _, spelling in naming.wording.describe(things)]
    if background := background_of(sample):
        spellings.append([*_spelling(model, background), *naming.wording.background])
    return naming.write(spellings)[0]


def word_vectors(model: MultitaskModel, names: Sequence[str]) -> Tensor:
    """The mean input vector of each name's tokens, relative to the LLM's mean input vector: (N, D) float32."""
    embedding = vocabulary_vectors(model.language_model)
    return torch.stack([embedding[_spelling(model, name)].mean(0) for name in names]) - model.word_mean


def _spelling(model: MultitaskModel, name: str) -> list[int]:
    """The token ids of a name within a text."""
    ids: list[int] = model.format.tokenizer(" " + name, add_special_tokens=False).input_ids
    return ids
