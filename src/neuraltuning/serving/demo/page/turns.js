// Draws turns: what was asked, the reply with its mentions in the colours of their masks, drawn pictures, problems.

import { node, paint } from "/page/dom.js";
import { save } from "/page/downloads.js";
import { partsOf } from "/page/mentions.js";

const NOTES = {
  stopped: "Stopped.",
  length: "The reply was cut off at its longest length.",
  empty: "The model said nothing.",
};

// A turn on the page. `actions` are what its buttons do: light(turn, index or null), toggle(turn, index), show(turn),
// again(turn), drawAgain(turn), afresh(turn); `colorOf(index)` gives an object's colour.
export class TurnView {
  constructor(turn, actions, colorOf, first) {
    this.turn = turn;
    this.actions = actions;
    this.colorOf = colorOf;
    this.words = node("p", { class: "words" });
    this.more = node("div", { class: "more" });
    this.figures = new Map();
    this.another = this.button("Another one", "drawAgain");
    const asked = node("div", { class: "asked" }, node("p", {}, turn.text));
    if (first && turn.picture) asked.prepend(node("img", { src: turn.picture.url, alt: turn.picture.name }));
    this.element = node("li", { class: "turn" }, asked, node("div", { class: "answer" }, this.words, this.more));
    this.refresh(false);
  }

  // Brings the element up to the turn; `current` says whether it is the one that the picture shows.
  refresh(current) {
    const { turn } = this;
    this.element.classList.toggle("streaming", turn.state === "streaming");
    this.drawWords();
    const notes = [
      turn.state === "stopped" && NOTES.stopped,
      turn.reason === "length" && NOTES.length,
      turn.state === "done" && !turn.reply.trim() && NOTES.empty,
    ].filter(Boolean);
    const focused = document.activeElement;
    this.more.replaceChildren(
      ...this.drawings(),
      ...notes.map((note) => node("p", { class: "soft" }, note)),
      ...this.problem(),
      ...(!current && turn.state !== "failed" ? [this.button("Show this reply", "show")] : []),
    );
    if (focused !== document.activeElement && this.more.contains(focused)) focused.focus();
  }

  // The reply's words. Those that stand already are kept, so that the focus stays where it is.
  drawWords() {
    const parts = partsOf(this.turn.reply);
    const kept = [...this.words.children];
    parts.forEach((part, place) => {
      const made = part.index === null ? node("span", {}, part.text) : this.mention(part);
      const old = kept[place];
      if (!old) this.words.append(made);
      else if (old.tagName !== made.tagName || old.textContent !== made.textContent) old.replaceWith(made);
    });
    for (const surplus of kept.slice(parts.length)) surplus.remove();
    for (const button of this.words.querySelectorAll(".mention")) {
      const object = this.turn.objects[button.dataset.index];
      button.classList.toggle("waiting", !object?.layer && (Boolean(object) || this.turn.state === "streaming"));
      button.setAttribute("aria-pressed", !object?.hidden);
      button.title = object?.hidden ? "Show its mask" : "Hide its mask";
    }
  }

  mention({ text, index }) {
    const light = () => this.actions.light(this.turn, index);
    const dark = () => this.actions.light(this.turn, null);
    const mark = node("span", { class: "mark" }, String(index + 1));
    const button = node(
      "button",
      {
        class: "mention",
        type: "button",
        onclick: () => this.actions.toggle(this.turn, index),
        onpointerenter: light,
        onpointerleave: dark,
        onfocus: light,
        onblur: dark,
      },
      text.trim(),
      mark,
    );
    button.dataset.index = index;
    return paint(button, this.colorOf(index));
  }

  lightMention(index) {
    for (const button of this.words.querySelectorAll(".mention")) {
      button.classList.toggle("lit", Number(button.dataset.index) === index);
    }
  }

  // Figures and the button below them stay the same elements, so that pictures don't flicker and the focus stays.
  drawings() {
    const { drawings } = this.turn;
    for (const drawing of drawings) if (!this.figures.has(drawing)) this.figures.set(drawing, this.figure(drawing));
    const figures = drawings.map((drawing) => this.figures.get(drawing));
    return figures.length ? [node("div", { class: "drawings" }, ...figures), this.another] : [];
  }

  figure({ seed, url }) {
    const keep = () => save(url, `drawing-seed-${seed}.png`);
    const caption = node(
      "figcaption",
      {},
      node("span", { class: "soft" }, `Seed ${seed}`),
      node("button", { class: "quiet", type: "button", onclick: keep }, "Save"),
    );
    const image = node("img", { src: url, alt: `What was drawn for “${this.turn.text}”, seed ${seed}` });
    return node("figure", { class: "drawing" }, image, caption);
  }

  problem() {
    const { problem } = this.turn;
    if (!problem) return [];
    const box = node("div", { class: "problem" }, node("p", {}, problem.message));
    if (problem.code !== "context_length_exceeded") box.append(this.button("Try again", this.turn.drawings.length ? "drawAgain" : "again"));
    else if (this.turn.goesOn) box.append(this.button("Ask in a new conversation", "afresh"));
    return [box];
  }

  button(label, action) {
    return node("button", { type: "button", onclick: () => this.actions[action](this.turn) }, label);
  }
}
