"""Draws the review page for the documentation.

python -m tests.mmud.review.screenshot docs/images/review.png
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from neuraltuning.mmud.review.queue import ReviewQueue
from tests.chromium import chromium
from tests.mmud.review.serving import serving
from tests.mmud.review.tagged import write_tagged


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = ReviewQueue(write_tagged(Path(folder), train=12))
        for item in queue.items[:6]:
            queue.decide(item, "ada", "accept", queue.tagging(item).answer)
        with serving(queue, "ada") as address, chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 864})
            page.goto(address)
            expect(page.locator("#place")).to_contain_text("Item 7 of 12")
            page.wait_for_load_state("networkidle")
            drawn = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
            drawn.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
