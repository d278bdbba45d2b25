"""Where tags go: the rules one by one, and the step in its working folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from neuraltuning.cli import main
from neuraltuning.errors import InputError
from neuraltuning.mmud.records import TAG, Annotation, Rejection, Verdict
from neuraltuning.mmud.referents import Referent, make_referent
from neuraltuning.mmud.tag import place_tags, strip_tags, tag_answers
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.data import write_data

SIZE = (640, 480)
BOXES = {
    "left": (20.0, 150.0, 120.0, 250.0),
    "middle": (250.0, 150.0, 120.0, 250.0),
    "right": (480.0, 150.0, 120.0, 250.0),
    "far": (280.0, 40.0, 40.0, 60.0),
    "near": (300.0, 380.0, 60.0, 90.0),
}


def objects(*given: str) -> list[Referent]:
    """Objects of "category: phrase, phrase @place"."""
    found = []
    for number, text in enumerate(given, start=1):
        text, _, place = text.partition(" @")
        category, _, phrases = text.partition(":")
        found.append(make_referent(number, category, phrases.split(","), BOXES[place or "middle"]))
    return found


MEN = ("person: man in blue @left", "person: man in red shirt @right")
FAMILY = ("person: woman, lady in black @left", "person: man, guy with hat @middle", "person: girl @right")
CATS = ("cat @left", "cat @middle", "cat @right")
HOME = ("dog @left", "cat @right", "couch", "dining table @near")


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        # names
        (HOME, "A dog <OBJ-1> and a cat <OBJ-2> share the sofa <OBJ-3>. The DOG <OBJ-1> is asleep."),
        (("tv", "cell phone", "bicycle"), "The television <OBJ-1>, a phone <OBJ-2> and the bike <OBJ-3>."),
        (("person: guy",), "The man <OBJ-1> waits. He is old, and the person <OBJ-1> looks tired."),
        (("person: woman",), "The man is not annotated, but the lady <OBJ-1> is."),
        (("seagull",), "The bird <OBJ-1> flies. No duck would."),
        (("knife", "person: child"), "Knives are sharp, so the kid <OBJ-2> should put the knife <OBJ-1> away."),
        (HOME, "Both animals <OBJ-1> <OBJ-2> are calm, and the animal on the left <OBJ-1> is a dog."),
        # other nouns
        (HOME, "The dog house, a hot dog, the dog's bowl and the dog-friendly room are no dogs."),
        (("bear @left", "teddy bear @right"), "The bear <OBJ-1> is real, and the teddy bear <OBJ-2> is a toy."),
        (("orange", "bowl"), "The orange bowl <OBJ-2> holds an orange <OBJ-1>, not orange juice."),
        (("bus", "person: man"), "The bus <OBJ-1> stops at the bus stop, and the bus driver <OBJ-2> gets out."),
        (("wine glass", "person: man"), "The man <OBJ-2> with glasses takes the glass of wine <OBJ-1>."),
        (("train", "person: man"), "The man <OBJ-2> likes to train for a race at the train station."),
        # several
        (CATS, "The three cats <OBJ-1> <OBJ-2> <OBJ-3> and the other two dogs play."),
        (CATS, "The two cats on the left <OBJ-1> <OBJ-2> play. All of the cats <OBJ-1> <OBJ-2> <OBJ-3> are young."),
        (FAMILY, "The people <OBJ-1> <OBJ-2> <OBJ-3> and the two adults <OBJ-1> <OBJ-2> smile."),
        (MEN, "The couple <OBJ-1> <OBJ-2> and a group of men <OBJ-1> <OBJ-2> talk."),
        (("skis", "person"), "The person <OBJ-2> carries a pair of skis <OBJ-1>."),
        # which one
        (CATS, "The left cat <OBJ-1>, the cat in the middle <OBJ-2> and the rightmost cat <OBJ-3>."),
        (CATS, "The second cat from the left <OBJ-2> and the cat on the far right <OBJ-3> of the image."),
        (CATS, "One cat <OBJ-3> is sitting on the right side of the room."),
        (("dog @near", "dog @far"), "The dog closest to the camera <OBJ-1>; the dog in the background <OBJ-2>."),
        (("dog @near", "dog @far"), "The bigger of the two dogs <OBJ-1> barks. The small dog <OBJ-2> is quiet."),
        (("dog @near", "dog @far"), "The dog in front <OBJ-1> is the bigger of the two dogs <OBJ-1> <OBJ-2>."),
        (("dog: brown dog", "dog: black dog"), "The brown dog <OBJ-1> runs. The black one <OBJ-2> sits."),
        (MEN, "The man in the red shirt <OBJ-2> greets the man <OBJ-1> who is wearing blue."),
        (MEN, "One man <OBJ-1> is on the left, and the other <OBJ-2> is on the right."),
        ((*CATS[:2], "bench @far", "car @left"), "The cat <OBJ-1> sitting next to the car <OBJ-4> sleeps."),
        (("cup: cup left of red cup @left", "cup: red cup @right"), "The red cup <OBJ-2> is full."),
        (("person: man with hat @left", "person: man with tie @right"), "The man with the tie <OBJ-2> sings."),
        (("person: man with tie @left", "person: man", "tie"), "The man <OBJ-1> with the tie <OBJ-3> sings."),
        (("person: batter @left", "person: catcher"), "The batter <OBJ-1>, the catcher <OBJ-2>, no umpire."),
        (MEN, "The man on the left <OBJ-1> knows her, and so the man <OBJ-1> waves."),
        # nothing is there
        (HOME, "There is no cat, and without a dog or any table it isn't a couch that is missed."),
        (HOME, "If a dog came, the cat <OBJ-2> would flee. Like a dog, it hears well."),
        (HOME, "Cats sleep a lot, as dogs do. The cat <OBJ-2> sleeps. A cat needs that."),
        (HOME, "The dog can't be seen, but the cat <OBJ-2> is not in the box."),
        (("umbrella",), "The umbrella <OBJ-1> is big. A second umbrella and another umbrella are not needed."),
        (("dog @left",), "The dog on the right is another one."),
        (FAMILY, "The man <OBJ-2>, who wears a hat, is the father of the girl <OBJ-3>."),
        ((), "The dog sleeps."),
    ],
)
def test_tags_stand_behind_mentions(given: tuple[str, ...], answer: str) -> None:
    assert place_tags(strip_tags(answer), objects(*given), SIZE).answer == answer


def test_what_was_not_placed_is_reported() -> None:
    found = place_tags("The cat watches another one. A dog sleeps.", objects(*CATS, "dog @far", "couch"), SIZE)
    assert found.answer == "The cat watches another one. A dog <OBJ-4> sleeps."
    assert found.unclear == ("The cat",)
    assert found.unplaced == (1, 2, 3, 5)


def test_the_text_stays_as_it_is() -> None:
    answer = "1.  The dog\u2019s “friend”:\n\n- the Cat,  naïve…\n- (a couch)\n"
    tagged = place_tags(answer, objects(*HOME), SIZE).answer
    assert tagged == "1.  The dog\u2019s “friend”:\n\n- the Cat <OBJ-2>,  naïve…\n- (a couch <OBJ-3>)\n"
    assert strip_tags(tagged) == answer


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three scenes, each annotated with the names of all its objects."""
    workspace = Workspace.create(tmp_path / "work", write_data(tmp_path / "data", train=3))
    for item in workspace.ids():
        annotate(workspace, item, "There is " + " and ".join(f"a {name}" for name in names(workspace, item)) + ".")
    return workspace


def names(workspace: Workspace, item: str) -> list[str]:
    return sorted({thing.category for thing in workspace.sample(item).objects})


def annotate(workspace: Workspace, item: str, answer: str) -> None:
    workspace.annotations.append(
        Annotation(id=item, caption="A scene.", question="What is there?", answer=answer, model="m", prompt="p")
    )


def test_every_kept_annotation_is_tagged_once(workspace: Workspace) -> None:
    items = workspace.ids()
    rejection = Rejection(rule="length", detail="short")
    workspace.verdicts.append(Verdict(id=items[0], rejections=(rejection,)))
    workspace.verdicts.append(Verdict(id=items[1]))
    summary = tag_answers(workspace)
    assert [tagging.id for tagging in workspace.taggings] == [items[1]]
    assert (summary.items, summary.filtered, summary.waiting) == (1, True, 1)
    workspace.verdicts.append(Verdict(id=items[2]))
    assert tag_answers(workspace).items == 2
    assert [tagging.id for tagging in workspace.taggings] == items[1:]


def test_the_summary_counts_what_the_journal_holds(workspace: Workspace) -> None:
    annotate(workspace, workspace.ids()[0], "Nothing of it.")
    summary = tag_answers(workspace)
    taggings = list(workspace.taggings)
    assert not summary.filtered
    assert summary.tags == sum(len(TAG.findall(tagging.answer)) for tagging in taggings) > 0
    assert summary.without_tag == 1
    assert summary.unplaced == sum(len(tagging.unplaced) for tagging in taggings)
    assert summary.unplaced >= len(workspace.sample(workspace.ids()[0]).objects)


def test_another_answer_is_tagged_anew(workspace: Workspace) -> None:
    tag_answers(workspace)
    item = workspace.ids()[1]
    name = names(workspace, item)[0]
    annotate(workspace, item, f"I see a {name} <OBJ> and no <OBJ-7>.")  # a model that imitates tags
    tag_answers(workspace)
    assert len(list(workspace.taggings)) == 4
    answer = workspace.taggings.last()[item].answer
    assert strip_tags(answer) == f"I see a {name} and no."
    tag_answers(workspace)
    assert len(list(workspace.taggings)) == 4


def test_a_killed_run_is_finished_by_the_next(workspace: Workspace) -> None:
    tag_answers(workspace)
    whole = workspace.taggings.path.read_bytes()
    workspace.taggings.path.write_bytes(whole[:-20])
    assert tag_answers(Workspace(workspace.folder)).items == 3
    assert workspace.taggings.path.read_bytes() == whole


def test_nothing_to_tag_is_said(tmp_path: Path, workspace: Workspace) -> None:
    for item in workspace.ids():
        workspace.verdicts.append(Verdict(id=item, rejections=(Rejection(rule="blind", detail="known"),)))
    with pytest.raises(InputError, match="no annotation that `neuraltuning mmud filter` kept"):
        tag_answers(workspace)
    empty = Workspace.create(tmp_path / "empty", workspace.data)
    with pytest.raises(InputError, match="holds no annotations"):
        tag_answers(empty)


def test_the_command_prints_a_table(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neuraltuning", "mmud", "tag", str(workspace.folder)])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert not stopped.value.code
    assert "all annotations are tagged" in printed.err
    for row in ("items tagged", "tags placed", "objects without a mention", "unclear mentions"):
        assert row in printed.out
