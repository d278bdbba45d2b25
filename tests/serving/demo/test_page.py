"""The demo's page in a headless Chromium, on an engine that knows the example pictures.

NEURALTUNING_SCREENSHOT=docs/images/demo.png NEURALTUNING_DEMO_MODEL=runs/benchmark pytest -k screenshot <this file>

draws the README's screenshot with a tuned model.
"""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Error, Page, expect
from pycocotools.coco import COCO
from scipy.ndimage import binary_dilation, binary_erosion

from neuraltuning.model import MultitaskModel
from neuraltuning.report.overlay import PALETTE
from neuraltuning.serving.engine import Engine
from tests.chromium import CHROMIUM, chromium, strict_page
from tests.serving.api.fake_engine import until
from tests.serving.demo.scripted import SCORE, ScriptedEngine, demo, scene

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SUITCASE = 1
"""The example with a suitcase, a lemon and a gift."""
SEGMENT = "Please segment the suitcase, the lemon and the gift."
SCREENSHOT = os.environ.get("NEURALTUNING_SCREENSHOT")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # a shared machine may be slow
    with chromium() as started:
        yield started


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def address(engine: ScriptedEngine) -> Iterator[str]:
    with demo(engine) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with strict_page(browser, accept_downloads=True) as opened:
        yield opened


def begin(page: Page, address: str, example: int | None = SUITCASE) -> None:
    """Opens the page and takes an example picture."""
    page.goto(address)
    page.wait_for_selector("body.ready")
    if example is not None:
        page.locator("#offered .thumbnail").nth(example).click()
        expect(page.locator("#canvas")).to_be_visible()


def ask(page: Page, text: str) -> None:
    """Asks, and waits for the whole reply."""
    turns = page.locator(".turn")
    before = turns.count()
    page.fill("#text", text)
    page.keyboard.press("Enter")
    expect(turns).to_have_count(before + 1)
    expect(page.locator("#stop")).to_be_hidden()


def shown(page: Page) -> NDArray[np.uint8]:
    """(height, width, 3) what the picture's canvas shows."""
    frame = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"  # it is drawn with the next frame
    url = page.evaluate(f"{frame}.then(() => document.getElementById('canvas').toDataURL())")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def masks(size: tuple[int, int], *numbers: int, example: int = SUITCASE) -> list[NDArray[np.bool_]]:
    """True masks of an example's objects at the size of the canvas, (height, width)."""
    return [
        np.asarray(Image.fromarray(scene(example).objects[n].mask).resize((size[1], size[0]))).astype(bool)
        for n in numbers
    ]


def share_tinted(before: NDArray[np.uint8], after: NDArray[np.uint8], mask: NDArray[np.bool_], color: int) -> float:
    """The share of a mask's inner pixels that are half the picture's color and half the palette's."""
    inner = binary_erosion(mask, iterations=16)
    wanted = (before[inner].astype(float) + np.array(PALETTE[color])) / 2
    return float((np.abs(after[inner] - wanted).max(axis=-1) < 4).mean())


def test_a_mask_appears_over_each_object_that_was_named(page: Page, address: str) -> None:
    begin(page, address)
    before = shown(page)
    ask(page, SEGMENT)
    expect(page.locator(".words")).to_have_text("The suitcase1 and the lemon2 and the gift3.")
    expect(page.locator(".mention.waiting")).to_have_count(0)
    after = shown(page)
    objects = masks(before.shape[:2], 0, 1, 2)
    for color, mask in enumerate(objects):
        assert share_tinted(before, after, mask, color) > 0.8  # a number lies on the rest
    outside = ~binary_dilation(np.any(objects, axis=0), iterations=16)
    assert outside.mean() > 0.3
    np.testing.assert_array_equal(before[outside], after[outside])
    expect(page.locator("#legend .name")).to_have_text(["the suitcase", "the lemon", "the gift"])
    expect(page.locator("#legend .score")).to_have_text([f"{SCORE:.0%} sure".replace("%", " %")] * 3)
    colors = page.locator(".mention").evaluate_all("all => all.map((b) => b.style.getPropertyValue('--color'))")
    assert colors == ["#{:02x}{:02x}{:02x}".format(*color) for color in PALETTE[:3]]
    expect(page.locator("#canvas")).to_have_attribute(
        "aria-label", "suitcase, lemon and gift, with masks of: the suitcase; the lemon; the gift"
    )


def test_a_reply_comes_word_by_word_and_its_masks_with_it(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address)
    engine.pause = 0.25
    page.fill("#text", SEGMENT)
    page.keyboard.press("Enter")
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#legend li")).to_have_count(1)
    assert "gift" not in page.locator(".words").inner_text()
    assert "<" not in page.locator(".words").inner_text()
    expect(page.locator(".streaming")).to_have_count(1)
    expect(page.locator("#legend li")).to_have_count(3)
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#announce")).to_have_text("The suitcase and the lemon and the gift. With 3 masks.")


def test_masks_and_boxes_are_switched(page: Page, address: str) -> None:
    begin(page, address)
    before = shown(page)
    ask(page, SEGMENT)
    expect(page.locator(".mention.waiting")).to_have_count(0)
    suitcase, lemon, _ = objects = masks(before.shape[:2], 0, 1, 2)
    page.locator("#legend .toggle").nth(0).click()
    expect(page.locator(".mention").nth(0)).to_have_attribute("aria-pressed", "false")
    page.mouse.move(5, 5)  # nothing is pointed at, so that no mask is dimmed
    after = shown(page)
    assert share_tinted(before, after, suitcase, 0) < 0.01
    assert share_tinted(before, after, lemon, 1) > 0.8
    page.locator(".mention").nth(0).click()
    page.mouse.move(5, 5)
    assert share_tinted(before, shown(page), suitcase, 0) > 0.8
    page.locator("#masks").click()
    expect(page.locator("#masks")).to_have_attribute("aria-pressed", "false")
    np.testing.assert_array_equal(shown(page), before)
    page.locator("#masks").click()
    with_masks = shown(page)
    page.locator("#boxes").click()
    changed = (shown(page) != with_masks).any(axis=-1)
    assert changed.any()
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    together = np.any(objects, axis=0)
    assert abs(rows[0] - np.flatnonzero(together.any(axis=1))[0]) < 12
    assert abs(columns[-1] - np.flatnonzero(together.any(axis=0))[-1]) < 12


def test_pointing_at_a_name_or_an_object_lights_its_mask(page: Page, address: str) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    expect(page.locator(".mention.waiting")).to_have_count(0)
    before = shown(page)
    suitcase, lemon, _ = masks(before.shape[:2], 0, 1, 2)
    page.locator(".mention").nth(0).hover()
    expect(page.locator("#legend li").nth(0)).to_have_class("lit")
    after = shown(page)
    assert (before[suitcase] == after[suitcase]).mean() > 0.99
    assert (before[lemon] == after[lemon]).mean() < 0.1
    area = page.locator("#canvas").bounding_box()
    assert area is not None
    y, x = (np.argwhere(lemon).mean(axis=0) / before.shape[0]).tolist()
    page.mouse.move(area["x"] + x * area["width"], area["y"] + y * area["height"])
    expect(page.locator(".mention").nth(1)).to_have_class("mention lit")
    page.mouse.click(area["x"] + x * area["width"], area["y"] + y * area["height"])
    expect(page.locator("#legend .toggle").nth(1)).to_have_attribute("aria-pressed", "false")


def test_an_own_picture_is_chosen_dropped_or_pasted(
    page: Page, address: str, engine: ScriptedEngine, tmp_path: Path
) -> None:
    begin(page, address, None)
    turned = Image.fromarray(np.rot90(np.asarray(scene(3).image)[:160]))  # lies on its side but for its EXIF
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "mine.png", exif=exif)
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Choose a picture").click()
    choosing.value.set_files(tmp_path / "mine.png")
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "mine.png")
    assert shown(page).shape == (round(960 * 160 / 224), 960, 3)
    page.get_by_role("button", name="Describe the image.").click()
    expect(page.locator(".words")).to_have_text("I was asked: Describe the image.")
    assert engine.queries[0].image is not None and engine.queries[0].image.size == (224, 160)
    for event, carrier in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        content = base64.b64encode((tmp_path / "mine.png").read_bytes()).decode()
        page.evaluate(
            """([event, carrier, content]) => {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], `${event}.png`, { type: "image/png" }));
                const sent = new Event(event, { bubbles: true, cancelable: true });
                Object.defineProperty(sent, carrier, { value: data });
                document.body.dispatchEvent(sent);
            }""",
            [event, carrier, content],
        )
        expect(page.locator("#canvas")).to_have_attribute("aria-label", f"{event}.png")
    page.get_by_role("button", name="Please segment the").click()
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#text")).to_have_value("Please segment the ")


def test_a_second_turn_knows_the_first(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    ask(page, "How many objects are there?")
    expect(page.locator(".words").nth(1)).to_have_text("3, after 1 earlier turns.")
    first, second = engine.queries
    assert second.earlier == ((SEGMENT, "The suitcase <OBJ> and the lemon <OBJ> and the gift <OBJ>."),)
    assert first.image is not None and second.image is not None
    np.testing.assert_array_equal(np.asarray(first.image), np.asarray(second.image))
    expect(page.locator("#legend")).to_be_hidden()
    page.get_by_role("button", name="Show this reply").click()
    expect(page.locator("#legend li")).to_have_count(3)
    page.get_by_role("button", name="How many gifts can you see?").click()  # an example, which stands by itself
    expect(page.locator(".words").nth(2)).to_have_text("3, after 0 earlier turns.")
    ask(page, "How many objects are there?")
    expect(page.locator(".words").nth(3)).to_have_text("3, after 3 earlier turns.")


def test_another_picture_begins_another_conversation_and_one_goes_back(
    page: Page, address: str, engine: ScriptedEngine
) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    page.locator("#switch .thumbnail").nth(3).click()
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "dog and car")
    ask(page, "Please segment the dog.")
    assert engine.queries[1].earlier == ()
    expect(page.locator(".asked img")).to_have_count(2)
    page.get_by_role("button", name="Show this reply").click()
    expect(page.locator("#canvas")).to_have_attribute(
        "aria-label", "suitcase, lemon and gift, with masks of: the suitcase; the lemon; the gift"
    )
    ask(page, "How many objects are there?")
    assert [turn[0] for turn in engine.queries[2].earlier] == [SEGMENT]
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask(page, "How many objects are there?")
    assert engine.queries[3].earlier == ()


def test_drawings_are_shown_with_their_seeds(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    ask(page, "Please draw two dogs on a green background.")
    expect(page.locator(".words").nth(1)).to_have_text("Here is the picture.")
    expect(page.locator(".drawing")).to_have_text(["Seed 0Save"])
    room, engine.room = engine.room, 0
    page.get_by_role("button", name="Another one").click()
    expect(page.locator(".problem")).to_be_visible()
    engine.room = room
    page.get_by_role("button", name="Another one").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".drawing")).to_have_text(["Seed 0Save", "Seed 1Save"])
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator(".problem")).to_have_count(0)
    expect(page.get_by_role("button", name="Another one")).to_be_focused()
    assert [(query.seed, query.image, query.earlier) for query in engine.queries[1:]] == [(0, None, ()), (1, None, ())]
    with page.expect_download() as saving:
        page.locator(".drawing").nth(1).get_by_role("button").click()
    assert saving.value.suggested_filename == "drawing-seed-1.png"
    drawn = np.roll(np.asarray(scene(0).image), 8, axis=1)
    np.testing.assert_array_equal(np.asarray(Image.open(saving.value.path())), drawn)
    ask(page, "How many objects are there?")  # about the picture, of which the drawing was no part
    assert len(engine.queries[-1].earlier) == 1


def test_a_drawing_needs_no_picture_and_all_else_does(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address, None)
    page.fill("#text", "What is it?")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("Choose a picture first")
    expect(page.locator("#text")).to_have_value("What is it?")
    assert engine.queries == []
    ask(page, "Draw a dog.")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator(".drawing img")).to_have_js_property("naturalWidth", 224)


def test_a_model_that_draws_nothing_is_not_asked_to(page: Page, engine: ScriptedEngine) -> None:
    with demo(engine, able=("<OBJ>",)) as address:
        begin(page, address)
        expect(page.get_by_role("button", name="Draw a picture")).to_have_count(0)
        expect(page.locator(".task-name")).to_have_text(["Segment", "Reason", "Describe", "Ask"])


def test_everything_can_be_saved(page: Page, address: str, tmp_path: Path) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    expect(page.locator(".mention.waiting")).to_have_count(0)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the mask of the lemon").click()
    assert saving.value.suggested_filename == "the-lemon-2.png"
    saved = np.asarray(Image.open(saving.value.path())).astype(bool)
    np.testing.assert_array_equal(saved, scene(SUITCASE).objects[1].mask)

    with page.expect_download() as saving:
        page.get_by_role("button", name="Save COCO JSON").click()
    coco = COCO(saving.value.path())
    assert [coco.cats[a["category_id"]]["name"] for a in coco.anns.values()] == [
        "the suitcase",
        "the lemon",
        "the gift",
    ]
    for annotation, entry in zip(coco.anns.values(), scene(SUITCASE).objects, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), entry.mask)
        assert (annotation["score"], annotation["area"]) == (pytest.approx(SCORE), entry.mask.sum())
        assert annotation["bbox"] == list(entry.box)

    page.locator("#legend .toggle").nth(0).click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save picture").click()
    overlay = np.asarray(Image.open(saving.value.path()).convert("RGB")).astype(int)
    plain, entries = np.asarray(scene(SUITCASE).image).astype(int), scene(SUITCASE).objects
    assert overlay.shape == plain.shape
    different = np.abs(overlay - plain).max(axis=-1) > 2
    assert different[entries[1].mask].mean() > 0.9
    assert different[binary_erosion(entries[0].mask, iterations=3)].mean() < 0.05


def test_a_reply_can_be_stopped(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address)
    engine.pause = 0.1
    page.fill("#text", "Tell me everything.")
    page.click("#send")
    expect(page.locator("#stop")).to_be_focused()
    expect(page.locator(".words")).to_contain_text("word3")
    page.keyboard.press("Enter")  # on Stop
    expect(page.locator(".more")).to_have_text("Stopped.")
    until(lambda: engine.cancelled == 1)
    expect(page.locator("#send")).to_be_focused()
    engine.pause = 0.0
    ask(page, "How many objects are there?")
    [(said, heard)] = engine.queries[1].earlier
    assert said == "Tell me everything."
    assert heard.startswith("word0 word1") and not heard.endswith("word39.")
    engine.pause = 0.1
    page.fill("#text", "Tell me everything.")
    page.keyboard.press("Enter")
    expect(page.locator(".words").nth(2)).to_contain_text("word1")
    page.keyboard.press("Escape")
    expect(page.locator(".turn").nth(2)).to_contain_text("Stopped.")
    page.fill("#text", SEGMENT)
    page.keyboard.press("Enter")
    expect(page.locator(".mention")).to_have_count(1)  # its mask is still to come
    page.keyboard.press("Escape")
    expect(page.locator(".turn").nth(3)).to_contain_text("Stopped.")
    expect(page.locator(".mention.waiting")).to_have_count(0)


def test_what_is_too_much_for_the_model_is_said_and_asked_again(
    page: Page, address: str, engine: ScriptedEngine
) -> None:
    begin(page, address)
    room, engine.room = engine.room, 0
    ask(page, SEGMENT)
    expect(page.locator(".problem")).to_contain_text("The model is busy with other requests. Try again in 7 seconds.")
    expect(page.locator("#announce")).to_contain_text("busy")
    engine.room = room
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#legend li")).to_have_count(3)
    expect(page.locator(".problem")).to_have_count(0)


def test_what_goes_wrong_is_said_kindly(page: Page, address: str, engine: ScriptedEngine, tmp_path: Path) -> None:
    begin(page, address)
    ask(page, "fail")
    expect(page.locator(".problem")).to_contain_text("Something went wrong on the server.")
    assert "secret" not in page.locator("body").inner_text()
    ask(page, "refuse")
    expect(page.locator(".problem").nth(1)).to_contain_text("The text can't be answered; write another one.")
    (tmp_path / "notes.txt").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    expect(page.locator("#notice")).to_have_text(
        "notes.txt can't be shown as a picture; choose a PNG, JPEG, WebP or GIF file."
    )
    (tmp_path / "lines.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"/>')
    page.locator("#file").set_input_files(tmp_path / "lines.svg")  # the browser shows it, the server can't
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "lines.svg")
    ask(page, "Describe the image.")
    expect(page.locator(".problem").nth(2)).to_contain_text("picture")
    assert "messages.0" not in page.locator(".problem").nth(2).inner_text()
    assert len(engine.queries) == 1


def test_a_server_that_is_gone_is_said_and_the_question_stays(page: Page, engine: ScriptedEngine) -> None:
    with demo(engine) as address:
        begin(page, address)
        ask(page, "How many objects are there?")
    ask(page, SEGMENT)
    expect(page.locator(".problem")).to_contain_text("The server does not answer. Is the command still running?")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator(".asked").nth(1)).to_contain_text(SEGMENT)
    page.locator("#switch .thumbnail").nth(0).click()
    expect(page.locator("#notice")).to_contain_text("The server does not answer.")


def test_a_conversation_that_is_too_long_goes_on_in_a_new_one(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address)
    engine.room_for_turns = 0
    ask(page, "How many objects are there?")
    ask(page, SEGMENT)
    expect(page.locator(".problem")).to_contain_text("The conversation is too long")
    page.get_by_role("button", name="Ask in a new conversation").click()
    expect(page.locator("#legend li")).to_have_count(3)
    assert engine.queries[-1].earlier == ()
    ask(page, "New conversations are no way out. " * 100)
    page.get_by_role("button", name="New conversation", exact=True).click()
    ask(page, "It is the text itself. " * 100)
    expect(page.locator(".problem")).to_contain_text("The conversation is too long")
    expect(page.locator(".problem button")).to_have_count(0)


def test_a_reply_that_was_cut_off_says_so(page: Page, address: str) -> None:
    begin(page, address)
    ask(page, "Say at length how many there are.")
    expect(page.locator(".more")).to_have_text("The reply was cut off at its longest length.")


def test_a_page_that_comes_before_the_model_waits_for_it(page: Page, address: str) -> None:
    loading = {"error": {"message": "The models are still being loaded.", "code": "loading", "param": None, "type": ""}}
    page.route("**/demo/session", lambda route: route.fulfill(status=503, json=loading), times=1)
    page.goto(address)
    expect(page.locator("#notice")).to_have_text("The model is being loaded …")
    page.wait_for_selector("body.ready")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#model")).to_have_text("scenes")


def test_all_of_it_works_by_keyboard(page: Page, address: str, engine: ScriptedEngine) -> None:
    begin(page, address, None)

    def tab_to(text: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(({ textContent, title, id }) => `${textContent} ${title} ${id}`)(document.activeElement)"
            )
            if text in focused:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or "text" in focused
                return
        raise AssertionError(f"nothing with {text!r} gets the focus")

    tab_to("To the question")
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_be_focused()
    page.reload()
    page.wait_for_selector("body.ready")
    tab_to("suitcase, lemon and gift")
    page.keyboard.press("Enter")
    expect(page.locator("#canvas")).to_be_visible()
    tab_to(SEGMENT)
    page.keyboard.press("Enter")
    expect(page.locator("#legend li")).to_have_count(3)
    expect(page.locator("#stop")).to_be_hidden()
    page.locator("#new").focus()
    tab_to("Boxes")
    page.keyboard.press("Space")
    expect(page.locator("#boxes")).to_have_attribute("aria-pressed", "true")
    tab_to("the lemon")
    expect(page.locator("#legend li").nth(1)).to_have_class("lit")
    page.keyboard.press("Space")
    expect(page.locator("#legend .toggle").nth(1)).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#legend .toggle").nth(1)).to_be_focused()
    tab_to("The suitcase")
    page.keyboard.press("Enter")
    expect(page.locator(".mention").nth(0)).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".mention").nth(0)).to_be_focused()
    tab_to("text")
    page.keyboard.type("How many")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("objects are there?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(2)
    until(lambda: len(engine.queries) == 2)
    assert engine.queries[1].text == "How many\nobjects are there?"


def test_a_phone_has_room_for_it(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= 360"))

    begin(page, address, None)
    assert fits()
    page.locator("#offered .thumbnail").nth(SUITCASE).click()
    expect(page.locator("#canvas")).to_be_in_viewport(ratio=1)
    assert fits()
    page.get_by_role("button", name=SEGMENT).click()
    expect(page.locator("#legend li")).to_have_count(3)
    expect(page.locator("#stop")).to_be_hidden()
    for name in ("#canvas", "#send"):
        expect(page.locator(name)).to_be_in_viewport(ratio=1)
    expect(page.locator(".words")).to_be_in_viewport(ratio=0.9)
    ask(page, "Draw a picture: " + "averylongword" * 12)
    ask(page, "fail")
    expect(page.locator(".problem")).to_be_visible()
    assert fits()


def test_text_from_outside_is_only_text(page: Page, address: str, engine: ScriptedEngine, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>"
    begin(page, address, None)
    picture = tmp_path / "<img src=x onerror=alert(1)>.png"
    scene(0).image.crop((0, 0, 50, 50)).save(picture)
    page.locator("#file").set_input_files(picture)
    expect(page.locator("#canvas")).to_have_attribute("aria-label", picture.name)
    ask(page, hostile)
    expect(page.locator(".asked p")).to_have_text(hostile)
    expect(page.locator(".words")).to_have_text(f"I was asked: {hostile}")
    assert page.title() == "scenes · neuraltuning"
    assert page.evaluate("document.querySelectorAll('#turns script, #turns [onerror]').length") == 0


def test_the_policy_lets_nothing_foreign_in(page: Page, address: str, browser: Browser) -> None:
    response = page.goto(address)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_selector("body.ready")
    page.wait_for_load_state("networkidle")
    assert asked and all(url.startswith((address, "data:")) for url in asked)
    other = browser.new_page()  # whose errors are wanted
    other.goto(address)
    with pytest.raises(Error, match="TrustedHTML"):
        other.evaluate("document.body.innerHTML = '<p>markup</p>'")
    other.close()


def test_a_reply_is_looked_into(page: Page, tiny_model: MultitaskModel) -> None:
    with demo(ScriptedEngine(tiny_model)) as address:
        begin(page, address)
        ask(page, SEGMENT)
        page.get_by_text("Look inside this reply").click()
        expect(page.locator("#inside h3")).to_have_text(["Active neurons", "Where each <OBJ> looked"])
        expect(page.locator(".axes")).to_contain_text("decoder layer")
        expect(page.locator(".axes .x-name")).to_have_text("neuron")
        expect(page.locator(".looks .of")).to_have_text(["1the suitcase", "2the lemon", "3the gift"])
        maps = page.locator(".looks canvas")
        expect(maps).to_have_count(6)  # on patches, and on their names
        expect(maps.first).to_have_attribute(
            "aria-label", re.compile(r"the suitcase .* in the picture: most in row \d of 4")
        )
        neurons = page.locator(".plot canvas")
        neurons.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator(".readout")).to_contain_text("Layer 0, neuron 0: active at")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        expect(page.locator(".readout")).to_contain_text("Layer 1, neuron 1: active at")
        ask(page, "How many objects are there?")  # the panel stays open, and is about the new reply
        expect(page.locator("#inside h3")).to_have_text(["Active neurons"])


def test_a_model_answers_on_the_engine(page: Page, tiny_model: MultitaskModel) -> None:
    engine = Engine({"scenes": tiny_model})
    try:
        with demo(engine) as address:
            begin(page, address)
            ask(page, SEGMENT)
            expect(page.locator(".problem")).to_have_count(0)
            expect(page.locator(".mention.waiting")).to_have_count(0)
            found = page.locator("#legend li").count()
            assert found == page.locator(".mention").count() > 0
            page.get_by_text("Look inside this reply").click()
            expect(page.locator(".looks li")).to_have_count(found)
            ask(page, "How many objects are there?")
            expect(page.locator(".turn")).to_have_count(2)
    finally:
        engine.close(0.0)


def test_a_look_that_fails_is_said(page: Page, address: str) -> None:
    begin(page, address)
    ask(page, SEGMENT)
    page.get_by_text("Look inside this reply").click()
    expect(page.locator("#inside .problem")).to_contain_text("This model can't be looked into.")


@pytest.mark.skipif(SCREENSHOT is None, reason="draws a picture when NEURALTUNING_SCREENSHOT names its file")
def test_the_screenshot_of_the_readme(page: Page) -> None:
    """With a tuned model, as the command serves it: its masks have to lie on what was named, before it is drawn."""
    assert SCREENSHOT is not None
    with tuned_demo(os.environ["NEURALTUNING_DEMO_MODEL"]) as address:
        page.set_default_timeout(120_000)
        expect.set_options(timeout=120_000)
        begin(page, address)
        before = shown(page)
        ask(page, SEGMENT)
        expect(page.locator("#legend li")).to_have_count(3)
        expect(page.locator(".mention.waiting")).to_have_count(0)
        page.mouse.move(5, 5)
        after = shown(page)
        for color, mask in enumerate(masks(before.shape[:2], 0, 1, 2)):
            assert share_tinted(before, after, mask, color) > 0.7
        for example in (scene(SUITCASE).reasoning[1].question, "How many gifts can you see?"):
            page.get_by_role("button", name=example).click()
            expect(page.locator("#stop")).to_be_visible()
            expect(page.locator("#stop")).to_be_hidden()
        ask(page, "Draw a picture: " + scene(3).captions[0])
        expect(page.locator(".drawing")).to_have_count(1)
        page.get_by_role("button", name="Show this reply").first.click()
        page.locator("#insight summary").click()
        expect(page.locator(".neurons")).to_be_visible()
        page.set_viewport_size({"width": 1360, "height": 1270})
        page.mouse.move(5, 5)
        page.evaluate("document.documentElement.style.setProperty('--most', '520px')")  # so that the panel is seen too
        page.evaluate("for (const id of ['seen', 'requests']) document.getElementById(id).scrollTo(0, 0)")
        page.wait_for_timeout(600)  # smooth scrolling ends
        drawn = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    drawn.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(SCREENSHOT, optimize=True)


@contextmanager
def tuned_demo(model: str) -> Iterator[str]:
    """The address of `neuraltuning demo MODEL`."""
    command = [sys.executable, "-m", "neuraltuning", "demo", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "http://" in line)
            yield re.findall(r"http://\S+", line)[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
