"""What an export writes, and when it writes nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import neuraltuning.export.cli
import neuraltuning.export.folder
from neuraltuning.cli import main
from neuraltuning.errors import InputError, RunError
from neuraltuning.export.folder import export_model, export_onnx
from neuraltuning.export.image_parts import EncoderPart
from neuraltuning.export.language_parts import EmbeddingPart, LanguagePart
from neuraltuning.export.part import NotExportable, Run, example_pixels
from neuraltuning.export.tracing import open_file
from neuraltuning.model import MultitaskModel

PARTS = ["encoder", "projector", "embedding", "language_model", "mask_decoder"]


@pytest.fixture
def manifest(exported: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of one small part alone, for speed."""
    monkeypatch.setattr(
        neuraltuning.export.folder, "_parts", lambda model: ({"embedding": lambda: EmbeddingPart(model)}, {})
    )


def test_the_manifest_lists_every_file_with_its_checksum(exported: Path, manifest: dict[str, Any]) -> None:
    assert list(manifest["parts"]) == PARTS
    sums = {name: digest for part in manifest["parts"].values() for name, digest in part["sha256"].items()}
    written = {path.name for path in exported.iterdir()}
    assert written == {*sums, "manifest.json", "tokenizer"}
    for name, digest in sums.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
    for part in manifest["parts"].values():
        assert part["bytes"] == sum((exported / name).stat().st_size for name in part["sha256"])
        assert part["opset"] >= 18


def test_the_manifest_describes_inputs_and_outputs(exported: Path, manifest: dict[str, Any]) -> None:
    for part in manifest["parts"].values():
        session = onnxruntime.InferenceSession(exported / part["file"])
        assert [v["name"] for v in part["inputs"]] == [i.name for i in session.get_inputs()]
        assert [v["name"] for v in part["outputs"]] == [o.name for o in session.get_outputs()]
    inputs = {v["name"]: v for v in manifest["parts"]["language_model"]["inputs"]}
    assert inputs["inputs_embeds"] == {"name": "inputs_embeds", "dtype": "float32", "shape": ["rows", "length", 32]}
    assert inputs["attention_mask"]["dtype"] == "int64"
    assert inputs["past_key_values.2.value"]["shape"][::2] == ["rows", "past_length"]
    assert {v["name"] for v in manifest["parts"]["language_model"]["outputs"]} >= {"logits", "hidden_states.2"}
    masks = {v["name"]: v["shape"] for v in manifest["parts"]["mask_decoder"]["inputs"]}
    assert masks["said"][:2] == ["masks", "mention_length"] and masks["tokens"][0] == "images"


def test_the_manifest_records_how_far_each_output_is_from_the_models(manifest: dict[str, Any]) -> None:
    for part in manifest["parts"].values():
        outputs = [v["name"] for v in part["outputs"] if not v["name"].startswith("present.")]
        assert list(part["differs_from_pytorch"]) == outputs
        for difference in part["differs_from_pytorch"].values():
            assert 0.0 <= difference["max_rel"] < 1e-5 and difference["max_abs"] >= 0.0
    assert manifest["checked_with"]["tolerance"] == 1e-3


def test_what_is_not_exported_is_said(manifest: dict[str, Any]) -> None:
    assert list(manifest["not_exported"]) == ["image"]
    assert manifest["not_exported"]["image"].startswith("Pictures are not drawn")


def test_no_file_tells_where_it_was_written(exported: Path) -> None:
    for path in exported.glob("*.onnx"):
        assert b"neuraltuning/" not in path.read_bytes() and b"site-packages" not in path.read_bytes()


def test_the_pictures_of_a_batch_are_seen_as_each_alone(model: MultitaskModel, exported: Path) -> None:
    encoder = open_file("encoder", exported / "encoder.onnx")
    projector = open_file("projector", exported / "projector.onnx")
    pixels = example_pixels(model.encoder, 3)
    together = projector({"tokens": encoder({"pixel_values": pixels})["tokens"]})
    for place in range(3):
        alone = projector({"tokens": encoder({"pixel_values": pixels[place : place + 1]})["tokens"]})
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name][place], tensor[0], atol=1e-5, rtol=1e-5)
    assert len({tuple(ids) for ids in together["name_ids"].tolist()}) > 1


@pytest.mark.usefixtures("small")
def test_an_earlier_export_is_replaced_as_a_whole(model: MultitaskModel, tmp_path: Path) -> None:
    target = tmp_path / "onnx"
    target.mkdir()
    export_model(model, target)
    (target / "left.onnx").touch()
    export_model(model, target)
    assert sorted(path.name for path in target.iterdir()) == [
        "embedding.onnx",
        "embedding.onnx.data",
        "manifest.json",
        "tokenizer",
    ]


def test_a_folder_with_other_files_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "manifest.json").write_text('{"splits": {}}', encoding="utf-8")  # a data set's
    with pytest.raises(InputError, match="is not empty and holds no earlier export"):
        export_onnx(saved, tmp_path)
    with pytest.raises(InputError, match="is a file; name a folder"):
        export_onnx(saved, tmp_path / "thesis.tex")
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "thesis.tex"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_an_interruption_or_a_full_disk_leaves_nothing(
    model: MultitaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def trace(part: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(neuraltuning.export.folder, "trace", trace)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RunError):
        export_model(model, tmp_path / "onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("small")
def test_a_file_that_computes_something_else_is_not_written(
    model: MultitaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_other_file(name: str, path: Path) -> Run:
        run = open_file(name, path)
        return lambda given: {name: tensor * 1.002 for name, tensor in run(given).items()}

    monkeypatch.setattr(neuraltuning.export.folder, "open_file", open_other_file)
    with pytest.raises(RunError, match=r"embedding .* inputs_embeds differs by 0.002 of .* nothing was written"):
        export_model(model, tmp_path / "onnx")
    assert os.listdir(tmp_path) == []


def test_what_torch_cant_express_is_said_and_the_rest_is_written(
    model: MultitaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(EncoderPart):
        def forward(self, given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            tokens, *others = super().forward(given)
            return tokens.kthvalue(1).values, *others

    def refused(model: MultitaskModel) -> LanguagePart:
        raise NotExportable("language_model", "It has no keys.")

    builders = {
        "encoder": lambda: Odd(model),
        "embedding": lambda: EmbeddingPart(model),
        "language_model": lambda: refused(model),
    }
    monkeypatch.setattr(neuraltuning.export.folder, "_parts", lambda model: (builders, {}))
    with pytest.raises(RunError, match="without encoder and language_model"):
        export_model(model, tmp_path / "onnx")
    manifest = json.loads((tmp_path / "onnx" / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["parts"]) == ["embedding"]
    assert manifest["not_exported"]["language_model"] == "It has no keys."
    assert "can't express encoder in ONNX" in manifest["not_exported"]["encoder"]
    assert "kthvalue" in manifest["not_exported"]["encoder"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `neuraltuning export` in this process: (exit status, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuraltuning", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


@pytest.mark.usefixtures("small")
def test_the_command_exports_in_float32(
    command: Callable[..., tuple[int, str, str]], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    config["model"]["dtype"] = "bfloat16"
    for path in saved.iterdir():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / path.name).symlink_to(path)
    (tmp_path / "model" / "config.json").unlink()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    status, out, err = command(tmp_path / "model", "--onnx", tmp_path / "onnx")
    assert status == 0, err
    assert out.startswith(f"{tmp_path / 'onnx' / 'manifest.json'}: 1 files")
    manifest = json.loads((tmp_path / "onnx" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["dtype"] == "float32"
    assert manifest["parts"]["embedding"]["outputs"][0]["dtype"] == "float32"


def test_the_command_refuses_what_is_no_model(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert command(tmp_path / "nothing", "--onnx", tmp_path / "onnx") == (
        2,
        "",
        f"There is no folder {tmp_path / 'nothing'}; `neuraltuning tune` writes one.\n",
    )
    status, _, err = command(tmp_path, "--onnx", tmp_path / "onnx")
    assert (status, "is no saved model" in err, err.count("\n")) == (2, True, 1)
    assert command(tmp_path)[0] == 2
    assert os.listdir(tmp_path) == []


def test_missing_packages_are_named(
    command: Callable[..., tuple[int, str, str]], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuraltuning.export.cli, "PACKAGES", ("numpy", "no_onnx", "no_onnxruntime"))
    status, out, err = command(saved, "--onnx", tmp_path / "onnx")
    assert (status, out) == (2, "")
    assert err == "Exporting needs the packages no_onnx, no_onnxruntime: pip install 'neuraltuning[export]'\n"
