"""The review page in a headless Chromium, by keyboard and by pointer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from neuraltuning.mmud.records import Annotation, Review, Tagging
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.workspace import Workspace
from tests.chromium import CHROMIUM, chromium, strict_page
from tests.mmud.review.serving import serving

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

TULIPS = "The orange tulip <OBJ-1>, the yellow tulip <OBJ-2>, the green tulip <OBJ-3> and the red tulip <OBJ-4>."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # a shared machine may be slow
    with chromium() as started:
        yield started


@pytest.fixture
def address(queue: ReviewQueue) -> Iterator[str]:
    with serving(queue) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with strict_page(browser) as opened:
        yield opened


def open_item(page: Page, address: str, number: int, reviewer: str = "ada") -> None:
    """Opens the page and goes forward to an item, counted from 0."""
    page.goto(f"{address}?reviewer={reviewer}")
    expect(page.locator("#place")).to_contain_text("Item 1 of 7")
    for _ in range(number):
        page.keyboard.press("f")
    expect(page.locator("#place")).to_contain_text(f"Item {number + 1} of 7")


def reviews(workspace: Workspace) -> list[Review]:
    return list(workspace.reviews)


def test_a_person_accepts_and_rejects_by_keyboard(page: Page, address: str, workspace: Workspace) -> None:
    page.goto(address)
    page.fill("#name", "ada")
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_have_text(workspace.annotations.last()[workspace.ids()[0]].question)
    expect(page.locator("#progress")).to_have_text("0 of 7 reviewed, 0 accepted")

    page.keyboard.press("a")
    expect(page.locator("#place")).to_contain_text("Item 2 of 7")
    assert [(r.reviewer, r.decision, r.id) for r in reviews(workspace)] == [("ada", "accept", workspace.ids()[0])]

    page.keyboard.press("r")
    page.keyboard.press("Enter")  # without a reason nothing is sent
    page.keyboard.press("Alt+3")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("2 of 7 reviewed, 1 accepted")
    assert [(r.decision, r.reason) for r in reviews(workspace)][1:] == [("reject", "A mask is wrong")]

    page.reload()  # goes on at the next item, as the same person
    expect(page.locator("#place")).to_contain_text("Item 3 of 7")
    expect(page.locator("#who")).to_have_text("ada")

    page.keyboard.press("b")
    expect(page.locator("#decided")).to_have_text("You rejected this item: A mask is wrong")
    page.keyboard.press("a")  # thought better of
    expect(page.locator("#place")).to_contain_text("Item 3 of 7")
    page.keyboard.press("b")
    expect(page.locator("#decided")).to_have_text("You accepted this item.")
    page.keyboard.press("n")
    expect(page.locator("#place")).to_contain_text("Item 3 of 7")


def test_masks_lie_on_the_picture_and_are_switched(page: Page, address: str) -> None:
    open_item(page, address, 6)
    loaded = "() => [...document.querySelectorAll('#stage img')].every((i) => i.complete && i.naturalWidth === 224)"
    page.wait_for_function(loaded)
    expect(page.locator("#stage img")).to_have_count(6)
    areas = page.locator("#stage img").evaluate_all("all => all.map((i) => JSON.stringify(i.getBoundingClientRect()))")
    assert len({*areas}) == 1

    page.locator("#objects li").nth(4).hover()
    expect(page.locator("#stage .mask").nth(4)).to_have_class("mask lit")
    page.keyboard.press("Shift+Digit5")
    expect(page.locator("#stage .mask").nth(4)).to_have_class("mask lit off")
    expect(page.locator("#objects .eye").nth(4)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("m")
    page.keyboard.press("m")
    expect(page.locator("#stage .mask.off")).to_have_count(0)

    area = page.locator("#stage").bounding_box()
    assert area is not None
    key = (area["x"] + area["width"] * 0.7, area["y"] + area["height"] * 0.27)
    page.mouse.move(*key)
    expect(page.locator("#objects li.lit")).to_contain_text("key")
    page.mouse.click(*key)
    expect(page.locator("#stage .mask.off")).to_have_count(1)
    page.mouse.move(area["x"] + 3, area["y"] + 3)  # nothing is there: the selected tag's object is lit again
    expect(page.locator("#objects li.lit")).to_contain_text("the tulip in orange")


def test_tags_are_moved_deleted_added_and_changed_by_keyboard(page: Page, address: str, workspace: Workspace) -> None:
    open_item(page, address, 6)
    expect(page.locator("#selection")).to_contain_text("Tag 1 behind “The orange tulip”")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#answer")).to_contain_text("The orange1 tulip")
    page.keyboard.press("u")
    expect(page.locator("#answer")).to_contain_text("The orange tulip1")
    page.keyboard.press("Shift+ArrowLeft")
    for _ in range(6):  # behind "orange", "tulip", "the", "yellow", the tag 2, then behind the second "tulip"
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#selection")).to_contain_text("Tag 2")
    page.keyboard.press("Delete")
    expect(page.locator("#objects li").nth(1)).to_contain_text("no tag")
    page.keyboard.press("5")
    page.keyboard.press("4")  # the tag is selected, and becomes the other object's
    expect(page.locator("#answer .chip")).to_have_text(["1", "4", "3", "4"])
    page.keyboard.press("7")
    expect(page.locator("#message")).to_have_text("There is no object 7.")
    page.keyboard.press("a")
    expect(page.locator("#progress")).to_contain_text("1 of 7")
    answer = "The orange <OBJ-1> tulip, the yellow tulip <OBJ-4>, the green tulip <OBJ-3> and the red tulip <OBJ-4>."
    assert reviews(workspace)[0].answer == answer


def test_tags_are_moved_and_added_by_pointer(page: Page, address: str, workspace: Workspace) -> None:
    open_item(page, address, 6)
    words = page.locator("#answer .word")
    page.locator("#answer .chip").nth(3).drag_to(words.filter(has_text="red"))
    expect(page.locator("#answer")).to_contain_text("the red4 tulip")
    page.click("#tag-right")
    expect(page.locator("#answer")).to_contain_text("the red tulip4.")
    page.locator("#answer .chip").nth(0).click()
    page.click("#tag-delete")
    words.filter(has_text="yellow").click()
    page.locator("#objects .number").nth(4).click()
    page.click("#accept")
    expect(page.locator("#progress")).to_contain_text("1 of 7")
    answer = "The orange tulip, the yellow <OBJ-5> tulip <OBJ-2>, the green tulip <OBJ-3> and the red tulip <OBJ-4>."
    assert reviews(workspace)[0].answer == answer


def test_text_is_edited_and_what_was_not_decided_outlives_a_reload(
    page: Page, address: str, workspace: Workspace
) -> None:
    open_item(page, address, 0)
    page.keyboard.press("e")
    page.fill("#edit", "It is the magnet.")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("a")
    expect(page.locator("#message")).to_have_text("The answer has no tag; put one behind a mention, or reject it.")
    assert reviews(workspace) == []
    page.reload()
    expect(page.locator("#answer")).to_have_text("It is the magnet.")
    page.locator("#answer .word").filter(has_text="magnet").click()
    page.keyboard.press("1")
    page.keyboard.press("a")
    expect(page.locator("#place")).to_contain_text("Item 2 of 7")
    assert reviews(workspace)[0].answer == "It is the magnet <OBJ-1>."
    page.keyboard.press("b")
    page.keyboard.press("o")
    expect(page.locator("#answer")).to_contain_text("The magnet1 attracts iron.")


def test_a_second_person_sees_nothing_of_the_first_and_they_are_compared(
    page: Page, address: str, queue: ReviewQueue
) -> None:
    for item in queue.items[:6]:
        queue.decide(item, "ada", "accept", queue.tagging(item).answer)
    page.goto(f"{address}?reviewer=ada")
    expect(page.locator("#progress")).to_have_text("6 of 7 reviewed, 6 accepted")
    page.keyboard.press("a")
    expect(page.locator("#done")).to_contain_text("You accepted 7 of 7")

    open_item(page, address, 0, "bob")
    expect(page.locator("#decided")).to_be_hidden()
    page.keyboard.press("a")
    expect(page.locator("#place")).to_contain_text("Item 2 of 7")
    page.keyboard.press("r")
    page.fill("#reason", "Too easy.")
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_contain_text("Item 3 of 7")
    page.keyboard.press("g")
    expect(page.locator("#agreement tbody tr")).to_have_text("ada and bob250 %0.001100 %")
    page.keyboard.press("Escape")

    page.keyboard.press("w")
    page.fill("#name", "ada")
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_be_visible()
    page.keyboard.press("b")
    expect(page.locator("#decided")).to_have_text("You accepted this item.")


def test_text_from_outside_does_nothing(page: Page, workspace: Workspace) -> None:
    item = workspace.ids()[0]
    hostile = "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>"
    kept = workspace.annotations.last()[item].model_dump()
    workspace.annotations.append(Annotation(**{**kept, "question": hostile, "caption": hostile}))
    workspace.taggings.append(Tagging(id=item, answer=f"{hostile} magnet <OBJ-1>", unclear=(hostile,)))
    queue = ReviewQueue(workspace)
    entry = queue.sample(item).objects[0]
    object.__setattr__(entry, "category", hostile)
    with serving(queue, hostile[:40]) as address:
        page.goto(address)
        expect(page.locator("#question")).to_have_text(hostile)
        expect(page.locator("#objects strong")).to_have_text(hostile)
        expect(page.locator("#answer")).to_contain_text(f"{hostile} magnet1")
        assert page.title() == "Review work"
        page.keyboard.press("a")
        page.keyboard.press("g")
        expect(page.locator("#agreement")).to_contain_text(f"{hostile[:40]}: 1 accepted")
        assert page.title() == "Review work"


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(page: Page, queue: ReviewQueue) -> None:
    with serving(queue, "ada") as address:
        page.goto(address)
        expect(page.locator("#place")).to_contain_text("Item 1 of 7")
    page.route("**/decision", lambda route: route.abort())
    page.keyboard.press("a")
    expect(page.locator("#message")).to_contain_text("The server does not answer.")
    expect(page.locator("#place")).to_contain_text("Item 1 of 7")


def test_every_shortcut_is_listed_and_a_phone_has_room(page: Page, address: str, tmp_path: Path) -> None:
    open_item(page, address, 6)
    page.keyboard.press("?")
    listed = page.locator("#shortcuts dt").all_inner_texts()
    assert {"a", "r", "e", "u", "b", "n", "g", "?", "Delete", "1, 2, …"} <= {*listed}
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for name in ("#accept", "#reject-open", "#back", "#forward"):
        expect(page.locator(name)).to_be_in_viewport(ratio=1)
    expect(page.locator("#stage")).to_be_in_viewport(ratio=1)
