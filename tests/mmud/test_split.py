"""What is taken into a built data set, and that nearly the same picture never stands in two of its splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from neuraltuning.data.check import check
from neuraltuning.data.convert import MANIFEST
from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import open_split
from neuraltuning.data.store import StoredSamples
from neuraltuning.errors import InputError
from neuraltuning.mmud.cli import app
from neuraltuning.mmud.describe import describe
from neuraltuning.mmud.manifest import Built
from neuraltuning.mmud.records import Annotation, BlindAnswer, Rejection, Review, Tagging, Verdict
from neuraltuning.mmud.split import accepted_answer, split
from neuraltuning.mmud.workspace import Workspace
from tests.data.test_check import store
from tests.mmud.review.tagged import longest, write_tagged

SPLITS = ("train", "validation", "test")


def build(folder: Path, **options: object) -> dict[str, list[Sample]]:
    """The data set that is built from `folder`/work, without reviews unless told otherwise."""
    given: dict[str, Any] = {"validation": 0.2, "test": 0.2, "unreviewed": True, **options}
    manifest = split(folder / "work", folder / "out", **given)
    assert json.loads((folder / "out" / MANIFEST).read_text()) == manifest
    return {name: list(open_split(str(folder / "out"), name, 0)) for name in manifest["splits"]}


def built(folder: Path) -> Built:
    return Built.model_validate(json.loads((folder / "out" / MANIFEST).read_text())["built"])


def review(workspace: Workspace, item: str, reviewer: str, decision: str, answer: str = "") -> None:
    answer = answer or workspace.taggings.last()[item].answer
    workspace.reviews.append(Review(id=item, reviewer=reviewer, decision=decision, answer=answer))


def test_a_sample_is_what_was_built_and_what_its_image_had(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=4)
    (sample,) = build(tmp_path, validation=0.0, test=0.0)["train"][1:2]
    scene = SceneDataset("train", 4)[1]
    asked = longest(scene)
    assert sample.reasoning == (QuestionAnswer(asked.question, asked.answer, "knowledge", asked.objects),)
    assert sample.captions == (scene.captions[0],)
    assert sample.questions == ()
    assert (sample.id, sample.source, sample.license) == (scene.id, scene.source, scene.license)
    assert [o.phrases for o in sample.objects] == [o.phrases for o in scene.objects]
    assert all((a.mask == b.mask).all() for a, b in zip(sample.objects, scene.objects, strict=True))
    stored, original = (StoredSamples(tmp_path / name / "train") for name in ("out", "data"))
    assert stored.read(1)[1] == original.read(1)[1]  # the picture's file, byte by byte
    assert workspace.sample("train/" + sample.id).captions == scene.captions


def test_only_what_every_step_lets_through_is_taken(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=9)
    items = workspace.ids()
    workspace.verdicts.append(Verdict(id=items[0], rejections=(Rejection(rule="length", detail="9 words"),)))
    workspace.taggings.append(Tagging(id=items[1], answer="It is a secret."))
    for item, decisions in {2: "rr", 3: "ar", 4: "ara", 5: "a"}.items():
        for number, decision in enumerate(decisions):
            review(workspace, items[item], f"person {number}", "accept" if decision == "a" else "reject")
    review(workspace, items[6], "person 0", "accept")
    review(workspace, items[6], "person 0", "reject")  # thought better of it

    taken = build(tmp_path, validation=0.0, test=0.0, unreviewed=False)["train"]
    assert [f"train/{sample.id}" for sample in taken] == sorted(items[4:6])
    assert built(tmp_path).left_out == {
        "rejected by the filter": 1,
        "not reviewed yet": 3,
        "rejected by reviewers": 3,
    }
    taken = build(tmp_path, validation=0.0, test=0.0)["train"]
    assert sorted(f"train/{sample.id}" for sample in taken) == [*items[4:6], *items[7:]]
    assert built(tmp_path).left_out["without a tag"] == 1
    assert built(tmp_path).unreviewed == 2


def test_of_what_reviewers_left_the_most_frequent_answer_counts() -> None:
    def said(*answers: str) -> dict[str, Review]:
        return {
            str(n): Review(id="x", reviewer=str(n), decision="accept", answer=answer, time=f"2025-01-0{n + 1}")
            for n, answer in enumerate(answers)
        }

    assert accepted_answer(said("one", "two", "one")) == "one"
    assert accepted_answer(said("one", "two")) == "two"
    assert accepted_answer({}) is None


def test_the_manifest_says_how_it_was_made(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=5)
    items = workspace.ids()
    texts = {"caption": "A cat.", "question": "Which?", "answer": "That."}
    workspace.annotations.append(Annotation(id=items[0], model="other", prompt="annotate.md 12ab", **texts))
    workspace.blind_answers.append(BlindAnswer(id=items[0], answer="No.", model="small", prompt="blind.md 34cd"))
    for person in ("Ada", "Ben"):
        review(workspace, items[0], person, "accept")
    build(tmp_path, seed=3)
    found = built(tmp_path)
    assert found.annotate.models == {"other": 1, "scenes": 4}
    assert found.annotate.prompts == {"annotate.md 12ab": 1, "none": 4}
    assert found.filter.models == {"small": 1}
    assert (found.review.reviewers, found.review.items, found.review.equal_decisions) == (2, 1, 1.0)
    assert (found.taken, found.unreviewed, found.source) == (5, 4, "data")
    assert found.division is not None
    assert found.division.seed == 3
    assert "Ada" not in (tmp_path / "out" / MANIFEST).read_text()


def test_the_division_is_by_share_and_seed(tmp_path: Path) -> None:
    write_tagged(tmp_path, train=30, test=10)

    def ids(**options: object) -> dict[str, list[str]]:
        return {name: [sample.id for sample in samples] for name, samples in build(tmp_path, **options).items()}

    first = ids(validation=0.1, test=0.2)
    assert {name: len(found) for name, found in first.items()} == {"train": 28, "validation": 4, "test": 8}
    assert len({name for found in first.values() for name in found}) == 40
    assert ids(validation=0.1, test=0.2) == first
    assert ids(validation=0.1, test=0.2, seed=1) != first
    small = ids(validation=0.001, test=0.001)
    assert {name: len(found) for name, found in small.items()} == {"train": 38, "validation": 1, "test": 1}
    kept = ids(keep_splits=True)
    assert {name: len(found) for name, found in kept.items()} == {"train": 30, "test": 10}
    assert built(tmp_path).division is None


def paler(sample: Sample, number: int) -> Sample:
    """A nearly equal copy of a sample."""
    image = sample.image.point(lambda value: min(255, value + number))
    return replace(sample, id=f"{sample.id}-{number}", image=image)


def write_copies(folder: Path) -> None:
    """Scenes of which each stands four times, nearly the same, in two splits of the data."""
    scenes = list(SceneDataset("train", 12))
    copies = [[scene, *(paler(scene, number) for number in range(1, 4))] for scene in scenes]
    splits = {"train": [s for group in copies for s in group[:3]], "test": [group[3] for group in copies]}
    store(folder / "data", splits)
    write_simple(folder)


def write_simple(folder: Path) -> None:
    """A working folder in which each item of `folder`/data has the same texts."""
    workspace = Workspace.create(folder / "work", folder / "data")
    for item in workspace.ids():
        workspace.annotations.append(Annotation(id=item, caption="A.", question="Q?", answer="A.", model="", prompt=""))
        workspace.verdicts.append(Verdict(id=item))
        workspace.taggings.append(Tagging(id=item, answer="A <OBJ-1>."))


@pytest.mark.parametrize("seed", range(3))
def test_nearly_equal_pictures_stay_together(tmp_path: Path, seed: int) -> None:
    write_copies(tmp_path)
    assert any(problem.kind == "near_leak" for problem in check(tmp_path / "data").problems)
    samples = build(tmp_path, validation=0.25, test=0.25, seed=seed)
    assert set(samples) == set(SPLITS)
    assert sum(map(len, samples.values())) == 48
    assert not {problem.kind for problem in check(tmp_path / "out").problems} & {"leak", "near_leak"}


def test_splits_that_are_kept_lose_the_training_pictures_that_leak(tmp_path: Path) -> None:
    write_copies(tmp_path)
    samples = build(tmp_path, keep_splits=True)
    assert {name: len(found) for name, found in samples.items()} == {"test": 12}
    assert built(tmp_path).left_out == {"nearly as in another split": 36}


def test_ids_that_stand_in_two_splits_stay_apart(tmp_path: Path) -> None:
    one, other = SceneDataset("train", 2)
    store(tmp_path / "data", {"train": [replace(one, id="a")], "test": [replace(other, id="a")]})
    write_simple(tmp_path)
    assert sorted(s.id for s in build(tmp_path)["train"]) == ["test-a", "train-a"]


def test_what_can_not_be_written(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=4)
    with pytest.raises(InputError, match="has nothing to be taken: 4 not reviewed yet"):
        build(tmp_path, unreviewed=False)
    with pytest.raises(InputError, match=r"shares 0\.6 and 0\.4 leave nothing to train on"):
        build(tmp_path, validation=0.6, test=0.4)
    item = workspace.ids()[2]
    workspace.taggings.append(Tagging(id=item, answer="The thing <OBJ-9>."))
    with pytest.raises(InputError, match=rf"work, {item}: the tag <OBJ-9> means no object"):
        build(tmp_path)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"holds no workspace\.json"):
        split(tmp_path / "nowhere", tmp_path / "out", validation=0.1, test=0.1)
    with pytest.raises(InputError, match="holds other things"):
        split(tmp_path / "work", tmp_path / "work", validation=0.1, test=0.1)


def test_a_card_that_someone_edited_is_not_replaced(tmp_path: Path) -> None:
    write_tagged(tmp_path, train=2)
    build(tmp_path)
    card = describe(tmp_path / "out")
    assert set(build(tmp_path)) == {"train"}
    card.write_text("# My cats\n")
    with pytest.raises(InputError, match=r"README\.md was written or edited by hand"):
        build(tmp_path)
    assert card.read_text() == "# My cats\n"


def test_the_commands(tmp_path: Path) -> None:
    workspace = write_tagged(tmp_path, train=6)
    review(workspace, workspace.ids()[0], "Ada", "reject")
    arguments = [str(tmp_path / "work"), str(tmp_path / "out"), "--unreviewed", "--validation", "0.2"]
    done = CliRunner().invoke(app, ["split", *arguments])
    assert done.exit_code == 0, done.output
    assert "train: 3 images, 0 left out, sha256" in done.stdout
    assert done.stdout.endswith(f"{tmp_path / 'out' / MANIFEST}\n")
    assert "1 items are left out: rejected by reviewers" in done.output
    done = CliRunner().invoke(app, ["describe", str(tmp_path / "out")])
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out' / 'README.md'}\n")


def test_the_data_that_is_read_is_not_replaced(tmp_path: Path) -> None:
    write_tagged(tmp_path, train=2)
    (tmp_path / "data" / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match="would be replaced"):
        split(tmp_path / "work", tmp_path / "data", validation=0.1, test=0.1, unreviewed=True)
    assert len(StoredSamples(tmp_path / "data" / "train")) == 2


def test_pictures_that_are_alike_all_are_for_training(tmp_path: Path) -> None:
    scenes = SceneDataset("train", 5)
    plain = [replace(scene, image=Image.new("RGB", scene.image.size, (n, n, n))) for n, scene in enumerate(scenes)]
    store(tmp_path / "data", {"train": plain})
    write_simple(tmp_path)
    assert {name: len(found) for name, found in build(tmp_path).items()} == {"train": 5}
