"""The Chromium that is installed, for tests of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, from `CHROMIUM`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def strict_page(browser: Browser, **context: Any) -> Iterator[Page]:
    """A page that fails the test where a script fails, or does what the page's policy forbids."""
    opened_in = browser.new_context(viewport={"width": 1280, "height": 860}, **context)
    opened = opened_in.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    opened_in.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []
