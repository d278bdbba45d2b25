"""Names behind an image's patch tokens: which patches are named, how, and what the model makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neuraltuning import naming as naming_module
from neuraltuning.box_votes import patch_centres
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.naming import UNKNOWN, Naming, PatchClassifier
from neuraltuning.tasks import get_task
from neuraltuning.training.alignment import align
from neuraltuning.wording import Wording
from tests.tiny_models import lively, model_settings, sample

GRID = (3, 4)
COMMA, STOP, END = 90, 91, 92
OPENING = [95, 96]
SPELLINGS = [[1], [10], [20, 21], [30]]
"""Of the background, a dog, a palm tree and a cat."""
ATTRIBUTES = [[2], [40], [50]]
"""Of nothing, red and blue."""
PLACES = [[[60 + 3 * row + column] for column in range(3)] for row in range(3)]
PAIR, ENDS = [[[70], [71]], [[72], [73]]], [[[74], [75]], [[76], [77]]]
WORDING = Wording(OPENING, [COMMA], [END], STOP, PLACES, [85], PAIR, ENDS, middle=[78], inner=[[79, 80], [81]])
KINDS = ".dpcDC"
"""Background, dog, palm tree, cat; the capital ones are red, the other dogs and cats blue, palm trees neither."""


def tokens(letters: str, relative: Tensor, seed: int) -> Tensor:
    """(N, 12) tokens that show a letter of `KINDS` each and an object's box (N, 4) relative to the patch."""
    kinds = 3.0 * torch.eye(8)[[KINDS.lower().index(letter.lower()) for letter in letters]]
    for patch, letter in enumerate(letters):
        if letter in "dcDC":
            kinds[patch, 6 if letter.isupper() else 7] = 3.0
    clean = torch.cat([kinds, relative], dim=1)
    return clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def patches(shown: list[str], objects: list[str] | None = None) -> Tensor:
    """(1, 12, 12) tokens of a picture drawn with one letter of `KINDS` a patch.

    `objects` has one sign an object at its patches; without it each letter is one object.
    """
    letters, signs = "".join(shown), "".join(objects or shown)
    centres = patch_centres(GRID)
    relative = torch.zeros(len(signs), 4)
    for sign in set(signs) - {"."}:
        own = torch.tensor([s == sign for s in signs])
        low, high = centres[own].amin(0) - 0.5, centres[own].amax(0) + 0.5
        relative[own, :2] = (low + high) / 2 - centres[own]
        relative[own, 2:] = high - low
    return tokens(letters, relative, seed=0)[None]


def scenes(count: int) -> tuple[Tensor, Tensor]:
    """(count, 12, 12) tokens of pictures of up to three rectangles, the later ones in front, and (count, 12) whose each
    patch is, -1 for nobody's. Some patches look like another kind, or like the other colour."""
    random = np.random.default_rng(7)
    shown, owners = [], []
    for _ in range(count):
        letters, signs = np.full(GRID, "."), np.full(GRID, ".")
        for number in range(random.integers(1, 4)):
            kind = random.choice(list("dpcDC"))
            top, left = random.integers(3), random.integers(4)
            own = np.zeros(GRID, dtype=bool)
            own[top : top + random.integers(1, 4), left : left + random.integers(1, 4)] = True
            signs[own], letters[own] = str(number), kind
            letters[own & (random.random(GRID) < 0.1)] = random.choice(list("dpcDC"))
            letters[own & (random.random(GRID) < 0.1)] = kind.swapcase() if kind in "dcDC" else kind
        shown.append(patches(["".join(row) for row in letters], ["".join(row) for row in signs]))
        owners.append([-1 if sign == "." else int(sign) for sign in signs.ravel()])
    return torch.cat(shown), torch.tensor(owners)


def fitted(
    slots: int = 14,
    vocabulary: int = 6,
    counts: str = 60 * "." + 80 * "dD" + 120 * "p" + 60 * "cC",
    told: int = UNKNOWN,
    pictures: tuple[Tensor, Tensor] | None = None,
) -> Naming:
    """A naming that learned `KINDS`; `told` is what was said of the background, 1 or 2 of `ATTRIBUTES`."""
    pictures = scenes(150) if pictures is None else pictures
    naming = Naming(12, GRID, vocabulary, slots, WORDING)
    classes = torch.tensor([KINDS[:4].index(letter.lower()) for letter in counts])
    attributes = torch.tensor([1 if k.isupper() else 2 if k in "dc" else UNKNOWN for k in counts])
    generator = torch.Generator().manual_seed(3)
    relative = torch.rand(len(counts), 4, generator=generator) * 4.0 - torch.tensor([2.0, 2.0, 0.0, 0.0])
    relative[classes == 0] = 0.0
    places = torch.randint(12, (len(counts),), generator=generator)
    boxes = relative + torch.cat([patch_centres(GRID)[places], torch.zeros(len(counts), 2)], dim=1)
    shown = tokens(counts, relative, seed=1)
    around = torch.where(classes == 0, told, UNKNOWN)
    learned = (shown, classes, SPELLINGS, attributes, ATTRIBUTES, around, ATTRIBUTES, places, boxes)
    naming.fit(*learned, *pictures, seed=0)
    return naming


def said(naming: Naming, shown: list[str], objects: list[str] | None = None) -> list[list[int]]:
    """The descriptions of one picture."""
    ids = naming(patches(shown, objects)).ids[0].tolist()
    written = [piece for piece in ids if piece != STOP]
    assert ids == [STOP] * (len(ids) - len(written)) + written
    if not written:
        return []
    assert written[:2] == OPENING and written[-1] == END
    found: list[list[int]] = [[]]
    for piece in written[2:-1]:
        if piece == COMMA:
            found.append([])
        else:
            found[-1].append(piece)
    return found


def test_who_knows_no_name_names_nothing() -> None:
    naming = Naming(12, GRID, 6, 5, WORDING)
    description = naming(patches(["dd..", "....", "..cc"]))
    assert description.ids.tolist() == [[STOP] * 5]
    assert not description.shares.any()
    assert not description.attributes.any()


def test_unlike_patches_stay_apart_where_each_picture_that_was_learned_from_has_one_object() -> None:
    shown, owners = scenes(40)
    naming = fitted(pictures=(shown, torch.where(owners > 0, -1, owners)))
    assert said(naming, ["dd..", "....", "..cc"]) == said(fitted(), ["dd..", "....", "..cc"])


def test_groups_are_described_from_left_to_right_in_the_language_models_tokens() -> None:
    description = fitted(slots=16)(patches(["..pp", "dd..", "...C"]))
    ids, shares = description.ids, description.shares
    dog, palm, cat = [50, 10, *PLACES[1][0]], [20, 21, *PLACES[0][2]], [40, 30, *PLACES[2][2]]
    assert ids.tolist() == [[STOP, STOP, *OPENING, *dog, COMMA, *palm, COMMA, *cat, END]]
    where = {"dog": [4, 5], "palm": [2, 3], "cat": [11]}
    expected = torch.zeros(16, 12)
    for start, places in zip((4, 8, 12), where.values(), strict=True):
        expected[start : start + 3, places] = 1.0 / len(places)
    torch.testing.assert_close(shares[0], expected)


def test_many_patches_take_more_steps_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else most of a large data set's patches are never seen."""
    monkeypatch.setattr(naming_module, "STEPS", 1)
    unlearned = fitted()
    monkeypatch.setattr(naming_module, "BATCH", 8)
    learned, shown = fitted(), ["dddd", "....", "CCCC"]
    assert said(learned, shown) == [[50, 10, *PLACES[0][1]], [40, 30, *PLACES[2][1]]]
    assert learned.classes(patches(shown)).amax(-1).min() > 0.8
    assert unlearned.classes(patches(shown)).amax(-1).max() < 0.6


def test_classes_need_not_be_linear_in_the_tokens() -> None:
    """What is the dog where two channels agree is the cat where they don't."""
    shown = torch.randn(1200, 6, generator=torch.Generator().manual_seed(4)).sign() * torch.tensor([3, 3, 1, 1, 1, 1])
    classes = 1 + (shown[:, 0] == shown[:, 1]).long()
    classifier = PatchClassifier(6, 3)
    classifier.fit(shown[:800], classes[:800], [[1], [10], [30]], seed=0)
    found = classifier(shown[800:]).argmax(-1)
    spelt = torch.tensor([classifier.spelling(int(number))[0] for number in found])
    assert (spelt == torch.tensor([0, 10, 30])[classes[800:]]).float().mean() > 0.95


@pytest.mark.parametrize(
    ("shown", "objects", "dogs"),
    [
        (["dd..", "dd..", "...."], ["11..", "11..", "...."], 1),
        (["d..d", "d..d", "...."], ["1..2", "1..2", "...."], 2),
        (["dddd", "dddd", "...."], ["1122", "1122", "...."], 2),  # touching, and all alike
        (["d..d", "d..d", "...."], ["1..1", "1..1", "...."], 1),  # what hides its middle doesn't part it
        (["dd..", "DD..", "...."], ["11..", "11..", "...."], 1),  # in doubt of its attribute
        (["ddDD", "ddDD", "ddDD"], ["1122", "1122", "1122"], 2),  # a blue one beside a red one
    ],
)
def test_patches_that_vote_for_one_box_and_look_alike_are_one_group(
    shown: list[str], objects: list[str], dogs: int
) -> None:
    assert sum(10 in words for words in said(fitted(slots=24), shown, objects)) == dogs


def test_a_group_is_named_by_what_its_patches_show_on_the_whole() -> None:
    """One patch of a palm tree that looks like a dog is no dog."""
    shown, tree = ["pp..", "pd..", "pp.."], ["11..", "11..", "11.."]
    assert [words[:2] for words in said(fitted(slots=24), shown, tree)] == [[20, 21]]


def test_an_attribute_is_said_of_classes_that_have_any() -> None:
    naming = fitted(slots=24)
    assert said(naming, ["DD..", "....", "..pp"]) == [[40, 10, PLACES[0][0][0]], [20, 21, PLACES[2][2][0]]]
    assert naming.varied.sum() == 2


def test_two_of_a_class_say_which_of_them_each_is_and_are_listed_in_that_order() -> None:
    """The lower dog is farther to the left, but they stand above each other."""
    lower, upper = [73, 50, 10, *PLACES[2][0]], [72, 40, 10, *PLACES[0][1]]
    naming = fitted(slots=24)
    shown = [".D..", "...p", "d..."]
    description = naming(patches(shown))
    assert said(naming, shown) == [upper, lower, [20, 21, *PLACES[1][2]]]
    first = description.ids[0].tolist().index(40)
    assert description.shares[0, first].nonzero()[:, 0].tolist() == [1]  # the patches of the upper one


def test_the_background_comes_last_if_a_text_told_of_it() -> None:
    naming = fitted(slots=24, told=2)
    assert said(naming, ["D...", "....", "...."]) == [[40, 10, *PLACES[0][0]], [50, 85]]
    description = naming(patches(["DDDD", "D...", "DDDD"]))
    assert description.shares[0, -2].nonzero()[:, 0].tolist() == [5, 6, 7]  # before the closing
    assert not [words for words in said(naming, ["DDDD", "DDDD", "DDDD"]) if 85 in words]


@pytest.mark.parametrize(
    ("shown", "row", "column"),
    [(["p...", "....", "...."], 0, 0), (["....", ".pp.", "...."], 1, 1), (["....", "....", "..pp"], 2, 2)],
)
def test_places_are_the_ninths_of_the_image(shown: list[str], row: int, column: int) -> None:
    assert said(fitted(), shown) == [[20, 21, *PLACES[row][column]]]


def test_a_description_that_does_not_fit_is_left_out_whole() -> None:
    ids = fitted(slots=9)(patches(["d..p", "...p", "...."])).ids
    assert ids.tolist() == [[STOP, STOP, STOP, *OPENING, 50, 10, PLACES[0][0][0], END]]


def test_what_it_is_not_sure_of_stays_unnamed() -> None:
    naming = fitted()
    sure = ["dd..", "dd..", "dd.."]
    assert said(naming, sure)
    naming.classes.weight.zero_()
    naming.classes.second.zero_()
    naming.classes.bias.fill_(0.0)  # six classes alike
    assert not said(naming, sure)


def test_the_rarest_classes_beyond_the_vocabulary_are_not_learned() -> None:
    pieces = {piece for words in said(fitted(slots=24, vocabulary=3), ["d..p", "d..p", ".c.."]) for piece in words}
    assert 30 not in pieces
    assert {10, 20, 21} <= pieces


def test_names_of_several_images_are_those_of_each_alone() -> None:
    naming = fitted()
    pictures = [patches(["..pp", "d...", "d.c."]), patches(["....", ".cC.", "...."]), patches(["....", "....", "...."])]
    together = naming(torch.cat(pictures))
    for place, picture in enumerate(pictures):
        alone = naming(picture)
        assert torch.equal(together.ids[place], alone.ids[0])
        for one, several in zip(vars(alone).values(), vars(together).values(), strict=True):
            torch.testing.assert_close(several[place], one[0])


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> MultitaskModel:
    """A tiny model that learned to name squares."""
    folder = tmp_path_factory.mktemp("models")
    model = lively(MultitaskModel.build(model_settings(folder, names={"slots": 40, "vocabulary": 5})))
    align(model, [sample(n) for n in range(24)], 24, seed=0, tasks=[get_task("captioning")])
    return model


def test_the_language_model_gets_the_names_behind_the_patches(named: MultitaskModel) -> None:
    pixels = named.encoder.preprocess([sample(30).image])
    features, tokens = named.see(pixels)
    n_patches = named.encoder.grid[0] * named.encoder.grid[1]
    assert tokens.shape[1] == named.image_length == n_patches + 40
    description = named.naming(features.tokens)  # type: ignore[misc]
    ids = description.ids
    told = named.format.tokenizer.decode(ids[0])
    assert "red square top left" in told or "blue square bottom right" in told, told
    own = named.language_model.get_input_embeddings()(ids)
    detail = description.shares @ named.projector.split(features.tokens)[1]
    torch.testing.assert_close(tokens[:, n_patches:], own + detail)
    assert detail.any()
    assert features.words is not None
    assert features.words.shape[1] == n_patches  # names are for the LLM, not for the decoders
    torch.testing.assert_close(features.boxes, description.boxes)


def test_patches_share_positions_of_the_language_model_and_not_of_the_decoders(
    named: MultitaskModel, tmp_path: Path
) -> None:
    pooled = MultitaskModel.build(named.settings.model_copy(update={"pooling": 2}))
    pooled.load_trained_state(named.trained_state())
    pixels = named.encoder.preprocess([sample(30).image])
    (features, tokens), (wanted, all_tokens) = pooled.see(pixels), named.see(pixels)
    rows, columns = named.encoder.grid
    assert pooled.image_length == tokens.shape[1] == (rows // 2) * (columns // 2) + 40
    squares = all_tokens[:, : rows * columns].unflatten(1, (rows // 2, 2, columns // 2, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(tokens, torch.cat([squares, all_tokens[:, rows * columns :]], dim=1))
    assert features.words is not None and wanted.words is not None
    assert torch.equal(features.words, wanted.words)
    query = Query(sample(30).image, "Which is like the sky?")
    again = MultitaskModel.from_pretrained(pooled.save_pretrained(tmp_path / "model"))
    assert again.reply(query.image, query.text).text == pooled.reply(query.image, query.text).text


def test_replies_with_names_are_the_same_alone_together_and_reloaded(named: MultitaskModel, tmp_path: Path) -> None:
    queries = [Query(sample(n).image, text) for n, text in enumerate(["Which is like the sky?", "How many squares?"])]
    together = named.reply_batch(queries)
    again = MultitaskModel.from_pretrained(named.save_pretrained(tmp_path / "model"))
    assert torch.equal(again.naming.classes.pieces, named.naming.classes.pieces)
    for query, reply, reloaded in zip(queries, together, again.reply_batch(queries), strict=True):
        alone = named.reply(query.image, query.text)
        assert alone.text == reply.text == reloaded.text
        assert (alone.masks == reply.masks).all()
        assert (reloaded.masks == reply.masks).all()


def test_naming_is_not_trained_on(named: MultitaskModel) -> None:
    assert not [name for name in named.trainable_parameters() if name.startswith("naming")]
    parts = {"naming.classes.weight", "naming.attributes.pieces", "naming.votes.first", "naming.varied"}
    assert parts <= set(named.heads())
