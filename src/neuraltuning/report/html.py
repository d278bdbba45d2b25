"""Builds HTML so that text can't become markup: everything that isn't `Html` already is escaped.

A model's reply is untrusted text, and so are the prompts, file names and keys that the report shows.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import resources

_VOID = frozenset(("img", "meta"))


class Html(str):
    """Markup that is safe to put into a page."""

    __slots__ = ()


Child = str | float | None | Iterable["Child"]


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        tag: its name.
        children: `Html` goes in as it is, other strings and numbers escaped; iterables are joined, None is left out.
        attributes: `class_` for "class", other underscores become hyphens; None and False leave an attribute out and
            True gives one without a value.
    """
    parts = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(name)
        elif value is not None and value is not False:
            parts.append(f'{name}="{html.escape(str(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening if tag in _VOID else f"{opening}{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other, escaped where they aren't `Html`."""
    return Html("".join(_render(child) for child in children))


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int | float):
        return html.escape(str(child), quote=False)
    return join(child)


def document(title: str, body: Child) -> Html:
    """A whole page in the report's style, which loads nothing from anywhere and runs nothing."""
    style = resources.files("neuraltuning.report").joinpath("style.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", Html(style)),
    )
    return join([Html("<!DOCTYPE html>\n"), element("html", head, element("body", body), lang="en")])
