"""easy-VQA (Victor Zhou, MIT), whose package brings the data, as JSON lines: the format of docs/your-own-data.md.

    python examples/write_easy_vqa.py easy-vqa

5,000 pictures of one shape each, with questions about its colour and its shape, and whether there is something or not.
The test split is its maker's; 500 of the training pictures, drawn at random, become the validation split.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

VALIDATION = 500
SEED = 0
SHAPES = ("rectangle", "circle", "triangle")

Question = tuple[str, str]
"""A question and its answer."""


def write_easy_vqa(folder: Path) -> dict[str, dict[int, list[Question]]]:
    """Writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and the pictures.

    Args:
        folder: for the files; created where missing.

    Returns:
        Split -> number of the picture -> its questions.
    """
    import easy_vqa

    train = by_picture(*easy_vqa.get_train_questions())
    held_out = set(np.random.default_rng(SEED).permutation(sorted(train))[:VALIDATION].tolist())
    splits = {
        "train": {number: asked for number, asked in train.items() if number not in held_out},
        "validation": {number: asked for number, asked in train.items() if number in held_out},
        "test": by_picture(*easy_vqa.get_test_questions()),
    }
    pictures = {"train": easy_vqa.get_train_image_paths(), "test": easy_vqa.get_test_image_paths()}
    for split, asked in splits.items():
        published = "test" if split == "test" else "train"
        (folder / published).mkdir(parents=True, exist_ok=True)
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as lines:
            for number, questions in sorted(asked.items()):
                name = f"{published}/{number}.png"
                shutil.copyfile(pictures[published][number], folder / name)
                lines.write(json.dumps(line(name, questions)) + "\n")
    return splits


def by_picture(texts: list[str], answers: list[str], numbers: list[int]) -> dict[int, list[Question]]:
    """The package's three lists as a picture's number -> its questions."""
    found: dict[int, list[Question]] = defaultdict(list)
    for text, answer, number in zip(texts, answers, numbers, strict=True):
        found[number].append((text, answer))
    return dict(found)


def line(image: str, questions: list[Question]) -> dict[str, object]:
    """What the JSON-lines file says of a picture."""
    asked = [{"question": text, "answer": answer, "kind": kind(answer)} for text, answer in questions]
    return {"image": image, "questions": asked, "license": "MIT"}


def kind(answer: str) -> str:
    """What a question asks for, so that each kind gets a score of its own."""
    if answer in ("yes", "no"):
        return "yes_no"
    return "shape" if answer in SHAPES else "color"


def guesses(train: list[Question], test: list[Question]) -> dict[str, float]:
    """The accuracy of answers that need no picture: the most frequent one, and the one to the same question."""
    usual = Counter(answer for _, answer in train).most_common(1)[0][0]
    of_question: dict[str, Counter[str]] = defaultdict(Counter)
    for text, answer in train:
        of_question[text][answer] += 1
    of_same = {text: answers.most_common(1)[0][0] for text, answers in of_question.items()}
    return {
        f"always {usual!r}": sum(answer == usual for _, answer in test) / len(test),
        "the usual answer to the same question": sum(of_same.get(q, usual) == a for q, a in test) / len(test),
    }


def main() -> None:
    """The command line: a folder to write."""
    if len(sys.argv) != 2:
        sys.exit("Give the folder to write: python examples/write_easy_vqa.py easy-vqa")
    try:
        splits = write_easy_vqa(Path(sys.argv[1]))
    except ModuleNotFoundError as error:
        sys.exit(f"There is no package {error.name}; install it with: pip install easy-vqa==1.0")
    flat = {split: [pair for asked in pictures.values() for pair in asked] for split, pictures in splits.items()}
    for split, pictures in splits.items():
        print(f"{split}: {len(pictures):,} pictures, {len(flat[split]):,} questions")
    for what, accuracy in guesses(flat["train"], flat["test"]).items():
        print(f"without looking, {what}: {accuracy:.1%} of the test split")


if __name__ == "__main__":
    main()
