// What can be asked, by task: example requests as buttons. Knows nothing of what becomes of them.

import { byId, node } from "/page/dom.js";

const TASKS = {
  segment: ["Segment", "Name things, and each gets a mask."],
  reason: ["Reason", "Say what something is for; it finds what you mean."],
  describe: ["Describe", "It says what the picture shows."],
  ask: ["Ask", "How many, which color, what is where?"],
  draw: ["Draw", "It draws what you describe, without any picture."],
};

// Says what a model can do, before there is a picture. `able`: task -> whether it can.
export function explainTasks(able) {
  const rows = Object.entries(TASKS).filter(([task]) => able[task]);
  byId("requests").replaceChildren(...rows.map(([, [name, what]]) => row(name, node("span", {}, what))));
}

// Offers requests ({ task, text }), sorted by task; `onPick(request)` hears of the one that was chosen.
export function offerRequests(requests, onPick) {
  const rows = Object.entries(TASKS).map(([task, [name]]) => {
    const own = requests.filter((request) => request.task === task);
    return own.length ? [row(name, ...own.map((request) => button(request, onPick)))] : [];
  });
  byId("requests").replaceChildren(...rows.flat());
}

// Offers them in one line, one of each task after the other.
export function offerInLine(requests, onPick) {
  const nth = (request) => requests.filter(({ task }) => task === request.task).indexOf(request);
  const sorted = requests.toSorted((one, other) => nth(one) - nth(other));
  byId("requests").replaceChildren(...sorted.map((request) => button(request, onPick)));
}

function row(name, ...children) {
  return node("div", { class: "task" }, node("span", { class: "task-name" }, name), node("div", {}, ...children));
}

function button(request, onPick) {
  const text = request.text.endsWith(" ") ? `${request.text}…` : request.text;
  return node("button", { class: "request", title: text, type: "button", onclick: () => onPick(request) }, text);
}
