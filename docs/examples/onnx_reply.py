"""Answers a request with the files that `neuraltuning export` wrote, without torch and without neuraltuning.

    python onnx_reply.py EXPORTED --image cat.jpg --text "Please segment the cat." --out answer

Needs numpy, onnxruntime, tokenizers, and Pillow, which opens the picture and writes the masks. Prints the reply and
writes `mask-1.png`, ... at the picture's size. Takes the likeliest token at each step, as `neuraltuning predict` does.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer


class ExportedModel:
    """The files of an exported folder, and what joins them (`manifest.json`, "joins")."""

    def __init__(self, folder: Path) -> None:
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.text, self.tokens = self.manifest["text"], self.manifest["text"]["task_tokens"]
        self.tokenizer = Tokenizer.from_file(str(folder / self.text["tokenizer"]))
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / part["file"], providers=["CPUExecutionProvider"])
            for name, part in self.manifest["parts"].items()
        }

    def run(self, part: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs of a part by name."""
        session = self.sessions[part]
        names = [output.name for output in session.get_outputs()]
        wanted = {value.name: inputs[value.name] for value in session.get_inputs()}
        return dict(zip(names, session.run(names, wanted), strict=True))

    def embed(self, ids: list[int]) -> np.ndarray:
        """(1, length, D) input vectors of token ids."""
        return self.run("embedding", {"input_ids": np.array([ids], dtype=np.int64)})["inputs_embeds"]

    def reply(self, picture: Image.Image | None, request: str) -> tuple[str, np.ndarray, np.ndarray]:
        """The reply's text, its masks (N, height, width) bool, and their scores (N,)."""
        seen = self.see(picture) if picture is not None else {}
        bos = [] if self.text["bos_id"] is None else [self.text["bos_id"]]
        vectors = [self.embed(bos)] if bos else []
        vectors += [seen["vectors"]] if seen else []
        vectors.append(self.embed(self.request_ids(request)))
        ids, readings = self.write(np.concatenate(vectors, axis=1))
        if not readings or picture is None:
            return self.read(ids), np.zeros((0, 0, 0), dtype=bool), np.zeros(0)
        logits = self.run("mask_decoder", seen | self.batch(readings))["mask_logits"]
        probabilities = [sigmoid(resized(one, picture.height, picture.width)) for one in logits]
        masks = np.stack([one > 0.5 for one in probabilities])
        scores = [p[m].mean() if m.any() else 0.0 for p, m in zip(probabilities, masks, strict=True)]
        return self.read(ids), masks, np.array(scores)

    def see(self, picture: Image.Image) -> dict[str, np.ndarray]:
        """What encoder and projector give for a picture, and under "vectors" what the language model gets of it."""
        form = self.manifest["picture"]
        stretched = picture.resize((form["size"], form["size"]), Image.Resampling.BICUBIC)
        values = (np.asarray(stretched, dtype=np.float32) / 255.0 - form["mean"]) / form["std"]
        seen = self.run("encoder", {"pixel_values": values.transpose(2, 0, 1)[None].astype(np.float32)})
        seen |= self.run("projector", seen)
        vectors = seen["patch_vectors"]
        if "name_ids" in seen:
            names = self.embed(seen["name_ids"][0].tolist()) + seen["name_details"]
            vectors = np.concatenate([vectors, names], axis=1)
        return seen | {"vectors": vectors}

    def write(self, vectors: np.ndarray) -> tuple[list[int], list[dict[str, np.ndarray]]]:
        """The reply's ids, and what the mask decoder reads of each of its `<OBJ>` tokens."""
        inputs = self.manifest["parts"]["language_model"]["inputs"]
        shapes = {value["name"]: value["shape"] for value in inputs if value["name"].startswith("past_key_values")}
        past = {name: np.zeros((1, heads, 0, size), np.float32) for name, (_, heads, _, size) in shapes.items()}
        ids: list[int] = []
        readings: list[dict[str, np.ndarray]] = []
        mention = 0  # where the mention begins that the next task token closes
        before: dict[str, np.ndarray] = {}
        length = 0
        while True:
            positions = np.arange(length, length + vectors.shape[1], dtype=np.int64)[None]
            length += vectors.shape[1]
            attended = np.ones((1, length), dtype=np.int64)
            given = {"inputs_embeds": vectors, "attention_mask": attended, "position_ids": positions}
            found = self.run("language_model", given | past)
            if ids and ids[-1] in self.tokens.values():
                if self.manifest["masks"] and ids[-1] == self.tokens[self.manifest["masks"]["token"]]:
                    readings.append(self.reading(before, found, ids[mention:-1]))
                mention = len(ids)
            chosen = int(found["logits"][0].argmax())
            if chosen == self.text["eos_id"] or len(ids) == self.text["max_new_tokens"]:
                return ids, readings
            ids.append(chosen)
            vectors = self.embed([chosen])
            past = {name: found[name.replace("past_key_values", "present")] for name in past}
            before = found

    def reading(self, before: dict, at: dict, said: list[int]) -> dict[str, np.ndarray]:
        """What the mask decoder reads of one task token; `before` and `at` are the passes that chose and read it."""
        place = {"predicting": before, "token": at}
        states = [place[s["at"]][s["output"]][0, -1] for s in self.manifest["masks"]["states"]]
        return {"states": np.concatenate(states), "said": self.embed(said or [0])[0][: len(said)]}

    def batch(self, readings: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Readings of several task tokens as one batch, their mentions filled up to the longest."""
        longest = max(1, *(len(r["said"]) for r in readings))
        said = [np.pad(r["said"], ((0, longest - len(r["said"])), (0, 0))) for r in readings]
        return {
            "owners": np.zeros(len(readings), dtype=np.int64),
            "replies": np.zeros(len(readings), dtype=np.int64),
            "states": np.stack([r["states"] for r in readings]),
            "said": np.stack(said),
            "in_mention": np.array([np.arange(longest) < len(r["said"]) for r in readings]),
        }

    def request_ids(self, request: str) -> list[int]:
        """The ids of a request in its form; task tokens that a user writes are ordinary text."""
        for token in self.tokens:
            while token in request:
                request = request.replace(token, token.strip("<>"))
        text = self.text["before"] + " ".join(request.split()) + self.text["after"]
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def read(self, ids: list[int]) -> str:
        """The text that a reply's ids stand for."""
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        for token in self.tokens:
            text = re.sub(rf"{re.escape(token)}\s+(?=[.,;:!?])", token, text).replace(token, " " + token)
        return " ".join(text.split())


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


def resized(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) -> (height, width), bilinear, with half-pixel centres."""
    return weights(logits.shape[0], height) @ logits @ weights(logits.shape[1], width).T


def weights(old: int, new: int) -> np.ndarray:
    """(new, old) what each new place takes of the old ones."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0.0, old - 1.0)
    low = at.astype(int)
    shares = np.zeros((new, old), dtype=np.float32)
    shares[np.arange(new), low] = 1.0 - (at - low)
    shares[np.arange(new), np.minimum(low + 1, old - 1)] += at - low
    return shares


def open_picture(path: Path) -> Image.Image:
    """The picture upright, on white, as RGB."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="EXPORTED", help="what `neuraltuning export` wrote")
    parser.add_argument("--image", type=Path, help="the picture that the request is about")
    parser.add_argument("--text", required=True, help="the request")
    parser.add_argument("--out", type=Path, default=Path("answer"), help="folder for the masks")
    arguments = parser.parse_args()
    picture = open_picture(arguments.image) if arguments.image else None
    text, masks, scores = ExportedModel(arguments.folder).reply(picture, arguments.text)
    print(text)
    for number, (mask, score) in enumerate(zip(masks, scores, strict=True), start=1):
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / f"mask-{number}.png"
        Image.fromarray(mask).save(path)
        print(f"{path}: score {score:.2f}")


if __name__ == "__main__":
    main()
