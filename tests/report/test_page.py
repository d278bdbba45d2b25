"""The report of a run: self-contained, escaped, complete, and a sentence for every unusable folder."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.errors import InputError
from neuraltuning.report.page import duration, write_report

VOID = {"meta", "img"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools.*")


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails where tags don't nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def report(run_dir: Path) -> tuple[str, Page]:
    html = write_report(run_dir).read_text(encoding="utf-8")
    return html, Page(html)


def change_metrics(run_dir: Path, **changes: Any) -> None:
    path = run_dir / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_page_lies_beside_the_scores_and_loads_nothing(run_dir: Path) -> None:
    assert write_report(run_dir) == run_dir / "report.html"
    html, page = report(run_dir)
    without_pictures = re.sub(r'"data:image/[^"]*"', "", html)
    assert not re.search(r"https?://|//[a-z]|url\(|@import", without_pictures)
    assert not any(tag in {"script", "link", "iframe", "object"} for tag, _ in page.tags)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
        if tag == "img":
            assert attributes["alt"]
    assert "prefers-color-scheme: dark" in html and "@media print" in html and "viewport" in html


def test_untrusted_text_stays_text(run_dir: Path) -> None:
    html, page = report(run_dir)
    assert "<script>" not in html and "onerror" not in {name for _, a in page.tags for name in a}
    assert "<script>alert('x')</script>" in page.words  # shown as the model wrote it
    assert "quick<b>run" in page.words and not any(tag == "b" for tag, _ in page.tags)


def test_each_task_has_its_headline_interval_count_and_baselines(run_dir: Path) -> None:
    _, page = report(run_dir)
    words = page.words
    for expected in (
        "61.2 % oIoU",
        "51.2 \u2013 71.2",
        "40 items",
        "every object masked 27.0 %",
        "untuned model 0.0 %",
    ):
        assert expected in words, expected
    for expected in ("teacher-forced 65.5 %", "relation (40) 41.0 %", "71.0 % object-name F1", "guessing 6.2 %"):
        assert expected in words, expected
    for expected in ("FID (tiny) 31.2", "KID (tiny) -0.0012", "BLEU-4: There is no `java` on the PATH."):
        assert expected in words, expected
    assert "Every object of the image is masked, whatever was asked." in words


def test_all_splits_stand_in_one_table(run_dir: Path) -> None:
    html, _ = report(run_dir)
    table = Page(re.findall(r"<table>.*?</table>", html, re.DOTALL)[0]).words
    assert table.index("Validation") < table.index("Test") < table.index("Referring segmentation")
    assert "60.0 %" in table and "61.2 %" in table and "\u2013" in table  # captioning wasn't scored on validation


def test_names_in_replies_have_the_color_of_their_masks(run_dir: Path) -> None:
    html, _ = report(run_dir)
    assert '<span class="name" style="--mask:#0072b2">The left dog</span>' in html
    assert '<span class="name" style="--mask:#d55e00">the cat</span>' in html
    assert 'class="badge none" style="--mask:#d55e00" title="no mask">2</span>' in html  # two tokens, one mask
    assert '<span class="token">&lt;GEN&gt;</span>' in html


def test_pictures_of_every_task_successes_and_failures(run_dir: Path) -> None:
    html, page = report(run_dir)
    replies = html[html.index('id="replies"') : html.index('id="splits"')]
    assert replies.index("Referring segmentation") < replies.index("Captioning") < replies.index("Text to image")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", replies)
    assert captions == ["Reply", "Truth", "Drawn", "Target"]
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    assert "Successes (1)" in replies and "Failures (1)" in replies
    assert "IoU 0.50" in page.words and "found among 16: yes" in page.words
    assert "Replies on split \u201cvalidation\u201d" in replies


def test_curves_go_on_from_stage_to_stage(run_dir: Path) -> None:
    html, page = report(run_dir)
    titles = re.findall(r'<figure class="curve"><figcaption>(.*?)</figcaption>', html)
    assert titles == ["Loss", "Learning rate", "Loss: mask dice", "Referring segmentation: oIoU"]
    assert html.count('class="stage"') == 4 and "Stages: warmup, then tuning." in page.words
    first = html[html.index('<figure class="curve">') : html.index("</figure>", html.index('<figure class="curve">'))]
    assert ">150</text>" in first or ">140</text>" in first  # 50 steps and 100 more


def test_how_it_was_run(run_dir: Path) -> None:
    _, page = report(run_dir)
    words = page.words
    assert "SmolLM2-135M \u00b7 5.2 M of 140 M parameters trained" in words
    assert "Time 2 min 5 s" in words and "tuner.alpha 0.9" in words and "SmolLM2-135M" in words
    assert duration(3.21) == "3.2\u202fs" and duration(7500) == "2\u202fh 5\u202fmin"


def test_a_run_with_scores_alone_and_one_without_any_task(run_dir: Path) -> None:
    (run_dir / "training_log.jsonl").unlink()
    for path in sorted(run_dir.glob("showcase/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    _, page = report(run_dir)
    assert "61.2" in page.words and "Training" not in page.words and "Replies" not in page.words
    change_metrics(run_dir, splits={"test": {}})
    assert "No task has been evaluated yet." in report(run_dir)[1].words


def test_unknown_tasks_and_scores_are_shown_by_their_keys(run_dir: Path) -> None:
    change_metrics(
        run_dir, splits={"test": {"depth_estimation": {"abs_rel": 0.123, "n": 5, "baselines": {"mean": {}}}}}
    )
    _, page = report(run_dir)
    assert "Depth estimation 0.123 abs rel" in page.words


def test_broken_pictures_and_foreign_masks_leave_the_page_whole(run_dir: Path) -> None:
    folder = run_dir / "showcase" / "test" / "captioning"
    (folder / "0.png").write_bytes(b"no picture")
    record = json.loads((run_dir / "showcase/test/referring_segmentation/0.json").read_text())
    record["masks"][0]["rle"]["size"] = [10, 10]
    (run_dir / "showcase/test/referring_segmentation/0.json").write_text(json.dumps(record))
    _, page = report(run_dir)
    assert "The picture can't be read." in page.words


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", None, "neuraltuning evaluate"),
        ("metrics.json", "{", "can't be read as JSON"),
        ("metrics.json", "[]", "JSON object"),
        ("metrics.json", '{"splits": [1]}', "holds no scores"),
        ("metrics.json", '{"splits": {"test": {"captioning": 0.5}}}', "holds no scores"),
        ("training_log.jsonl", "oops\n{}\n", "Line 1"),
        ("training_log.jsonl", "3\n", "Line 1"),
        ("showcase/test/captioning/0.json", '{"image": "../../secret.png"}', "file's name alone"),
        ("showcase/test/captioning/0.json", '{"masks": ["x"]}', "COCO RLE"),
    ],
)
def test_unusable_files_are_named(run_dir: Path, file: str, content: str | None, message: str) -> None:
    write_report(run_dir)
    before = (run_dir / "report.html").read_bytes()
    if content is None:
        (run_dir / file).unlink()
    else:
        (run_dir / file).write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        write_report(run_dir)
    assert Path(file).name in str(error.value)
    assert (run_dir / "report.html").read_bytes() == before  # the old page stays


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path / "nowhere")
