// The review page: one item at a time, every decision sent at once. What it shows comes from app.py; what is edited
// and not decided yet is kept in the browser's tab.

import { agreementTable } from "/page/agreement.js";
import { mention, places, words } from "/page/answer.js";
import { byId, node, paint, redraw } from "/page/dom.js";
import { Editor } from "/page/editor.js";
import { Picture } from "/page/picture.js";

const REASONS = ["The question needs no image", "The answer is wrong", "A mask is wrong", "Hard to understand"];
const DIGIT_PAUSE = 700; // milliseconds to wait for the second digit of an object's number

const state = {
  folder: "",
  reviewer: "",
  decisions: [], // "accept", "reject" or null, for each item
  number: null, // of the shown item; null when all are done
  item: null,
};
let editor = null;
const picture = new Picture(byId("stage"), (number) => light(number ?? editor.selected), togglePicked);

// ---- the server

async function call(address, body) {
  let response;
  try {
    response = await fetch(address, body && {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Is the command still running? What you did here is kept: try again.");
  }
  const reply = await response.json();
  if (!response.ok) throw new Error(reply.detail);
  return reply;
}

const callAs = (name, address) => call(`${address}?reviewer=${encodeURIComponent(name)}`);

let running = Promise.resolve();

// Runs an action behind those that run already. It hears which item was shown when a person asked for it; what fails
// is said.
function act(action) {
  const { number } = state;
  running = running.then(() => action(number)).catch((error) => say(error.message));
  return running;
}

function say(sentence) {
  byId("message").hidden = !sentence;
  byId("message").textContent = sentence;
}

// ---- from item to item

async function begin() {
  const session = await call("/api/session");
  state.folder = session.folder;
  byId("folder").textContent = session.folder;
  document.title = `Review ${session.folder}`;
  const named = new URLSearchParams(location.search).get("reviewer") || session.reviewer;
  if (named) await become(named);
  else openName();
}

async function become(name) {
  state.decisions = await callAs(name, "/api/decisions");
  state.reviewer = name.trim();
  const address = new URL(location);
  address.searchParams.set("reviewer", state.reviewer);
  history.replaceState(null, "", address);
  byId("who").textContent = state.reviewer;
  await show(nextUnreviewed(0));
}

// The first item without a decision from `start` on, and from the beginning again; null when there is none.
function nextUnreviewed(start) {
  const count = state.decisions.length;
  for (let step = 0; step < count; step += 1) {
    const number = (start + step) % count;
    if (state.decisions[number] === null) return number;
  }
  return null;
}

async function show(number) {
  const item = number === null ? null : await callAs(state.reviewer, `/api/items/${number}`);
  clearTimeout(waiting);
  digits = "";
  state.number = number;
  state.item = item;
  byId("item").hidden = item === null;
  byId("done").hidden = item !== null;
  drawProgress();
  if (item === null) return;
  const draft = draftKey();
  editor = new Editor(sessionStorage.getItem(draft) ?? item.answer, (text) => sessionStorage.setItem(draft, text));
  picture.show(`/api/items/${number}`, item);
  drawItem();
  drawAnswer();
  scrollTo(0, 0);
}

const draftKey = () => `${state.folder}/${state.reviewer}/${state.item.id}`;

async function decide(number, decision, reason) {
  if (number !== state.number) return; // a key that is pressed twice does not decide about an item that nobody saw
  const decided = { reviewer: state.reviewer, decision, answer: editor.text, reason };
  await call(`/api/items/${number}/decision`, decided);
  sessionStorage.removeItem(draftKey());
  state.decisions[number] = decision;
  await show(nextUnreviewed(number + 1));
}

const accept = (number) => decide(number, "accept", "");
const last = () => state.decisions.length - 1;
const back = () => show(state.number === null ? last() : Math.max(0, state.number - 1));
const forward = () => show(Math.min(last(), state.number + 1));
const next = () => show(nextUnreviewed((state.number ?? last()) + 1));

// ---- editing

// An action of the editor, and the answer drawn anew.
function edit(action) {
  return () => {
    action(editor);
    drawAnswer();
  };
}

function putTag(number) {
  if (!state.item.objects.some((object) => object.number === number)) throw new Error(`There is no object ${number}.`);
  editor.put(number);
  drawAnswer();
}

let digits = "";
let waiting = 0;

function typeDigit(digit) {
  clearTimeout(waiting);
  digits += digit;
  const put = () => {
    const number = Number(digits);
    digits = "";
    putTag(number);
  };
  if (Number(digits) * 10 > state.item.objects.length) put();
  else waiting = setTimeout(() => act(put), DIGIT_PAUSE);
}

// ---- drawing

function drawProgress() {
  const total = state.decisions.length;
  const done = state.decisions.filter((decision) => decision !== null).length;
  const accepted = state.decisions.filter((decision) => decision === "accept").length;
  byId("bar").style.width = `${(100 * done) / total}%`;
  byId("track").setAttribute("aria-valuemax", total);
  byId("track").setAttribute("aria-valuenow", done);
  byId("progress").textContent = `${done} of ${total} reviewed, ${accepted} accepted`;
  byId("done-text").textContent = `You accepted ${accepted} of ${total} and rejected ${done - accepted}.`;
}

function drawItem() {
  const { item, number } = state;
  byId("place").textContent = `Item ${number + 1} of ${state.decisions.length} · ${item.id}`;
  byId("question").textContent = item.question;
  byId("caption").textContent = item.caption;
  byId("unclear").hidden = !item.unclear.length;
  byId("unclear").textContent = `Left without a tag, because several objects fit: ${item.unclear.join("; ")}`;
  byId("decided").hidden = !item.decision;
  byId("decided").className = item.decision ?? "";
  byId("decided").textContent =
    item.decision === "accept" ? "You accepted this item." : `You rejected this item: ${item.reason}`;
}

function drawAnswer() {
  const { text, tags } = editor.answer;
  const starts = new Map(words(text).map(([start, end]) => [end, start]));
  const parts = [];
  let end = 0;
  for (const at of places(editor.answer)) {
    // a word with its tags, which are not parted at a line's end
    const start = starts.get(at) ?? at;
    const put = () => act(edit(() => editor.placeCaret(at)));
    const together = [node("span", { className: "word", "data-at": at, onclick: put }, text.slice(start, at))];
    tags.forEach((tag, index) => tag.at === at && together.push(chip(tag, index)));
    if (editor.caret.tag === null && editor.caret.at === at) together.push(node("span", { className: "caret" }));
    parts.push(text.slice(end, start), node("span", { className: "mention" }, ...together));
    end = at;
  }
  redraw("answer", [...parts, text.slice(end)]);
  drawSelection();
  drawObjects();
  light(editor.selected);
}

function chip(tag, index) {
  const object = state.item.objects.find((other) => other.number === tag.number);
  const behind = mention(editor.answer.text, tag.at);
  const made = node("button", {
    className: "chip",
    draggable: true,
    "data-number": tag.number,
    "aria-label": `Tag ${tag.number}, ${object?.category ?? "no object"}, behind ${behind}`,
    "aria-pressed": editor.caret.tag === index,
    onclick: () => act(edit(() => editor.select(index))),
    onmouseenter: () => light(tag.number),
    onmouseleave: () => light(editor.selected),
    ondragstart: (event) => event.dataTransfer.setData("text/plain", String(index)),
  }, String(tag.number));
  paint(made, object?.color ?? "#777777");
  return made;
}

function drawSelection() {
  const { selected } = editor;
  for (const id of ["tag-left", "tag-right", "tag-delete"]) byId(id).disabled = selected === null;
  byId("undo").disabled = !editor.canUndo;
  byId("original").disabled = editor.text === state.item.proposed;
  byId("selection").textContent = selected === null
    ? `Behind “${editor.mention}”: press an object's number to add its tag.`
    : `Tag ${selected} behind “${editor.mention}”: move it, delete it, or press another object's number.`;
}

function drawObjects() {
  const used = new Set(editor.answer.tags.map((tag) => tag.number));
  byId("masks").textContent = picture.allHidden ? "Show all masks" : "Hide all masks";
  redraw("objects", state.item.objects.map((object) => {
    const number = node("button", {
      className: "number",
      title: `Put its tag (${object.number})`,
      "aria-label": `Put the tag of object ${object.number}, ${object.category}`,
      onclick: () => act(() => putTag(object.number)),
    }, String(object.number));
    paint(number, object.color);
    const named = node("div", { className: "named" }, node("strong", {}, object.category));
    named.append(node("span", { className: "soft" }, object.phrases.join("; ")));
    if (!used.has(object.number)) named.append(node("span", { className: "missing" }, "no tag"));
    const eye = node("button", {
      className: "eye",
      title: `Show or hide its mask (Shift ${object.number})`,
      "aria-label": `Mask of object ${object.number}`,
      "aria-pressed": !picture.hidden.has(object.number),
      onclick: () => togglePicked(object.number),
    }, "mask");
    return node("li", {
      "data-number": object.number,
      onmouseenter: () => light(object.number),
      onmouseleave: () => light(editor.selected),
    }, number, named, eye);
  }));
}

function togglePicked(number) {
  picture.toggle(number);
  drawObjects();
}

function toggleMasks() {
  picture.toggleAll();
  drawObjects();
}

function light(number) {
  picture.light(number);
  for (const element of document.querySelectorAll("#objects [data-number], #answer [data-number]")) {
    element.classList.toggle("lit", Number(element.dataset.number) === number);
  }
}

// ---- dialogs

function openEdit() {
  byId("edit").value = editor.text;
  byId("edit-dialog").showModal();
  byId("edit").focus();
}

function openReject() {
  byId("reason").value = state.item.decision === "reject" ? state.item.reason : "";
  byId("reject-dialog").showModal();
  byId("reason").focus();
}

function openName() {
  byId("name").value = state.reviewer;
  byId("name-dialog").showModal();
}

async function openAgreement() {
  byId("agreement").replaceChildren(...agreementTable(await call("/api/agreement")));
  byId("agreement-dialog").showModal();
}

const openHelp = () => byId("help-dialog").showModal();

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
byId("name-dialog").addEventListener("cancel", (event) => state.reviewer || event.preventDefault());

const onSubmit = (id, action) => byId(id).querySelector("form").addEventListener("submit", action);
onSubmit("name-dialog", async () => {
  await act(() => become(byId("name").value));
  if (!state.reviewer) openName();
});
onSubmit("edit-dialog", () => act(edit(() => editor.replace(byId("edit").value))));
onSubmit("reject-dialog", () => act((number) => decide(number, "reject", byId("reason").value)));

byId("edit").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) byId("edit").form.requestSubmit();
});
byId("reject-dialog").addEventListener("keydown", (event) => {
  const reason = event.altKey && REASONS[Number(/^Digit(\d)$/.exec(event.code)?.[1]) - 1];
  if (reason) byId("reason").value = reason;
});
byId("reasons").append(...REASONS.map((reason, index) => node("button", {
  type: "button",
  onclick: () => {
    byId("reason").value = reason;
    byId("reason").focus();
  },
}, reason, node("kbd", {}, `Alt ${index + 1}`))));

// ---- keys and buttons

// What is pressed as people read it, what it does in words, the action (digits have theirs below), the id of the button
// that does the same, and what the browser calls the keys where it is something else.
const SHORTCUTS = [
  ["a", "accept", accept, "accept"],
  ["r", "reject with a reason", openReject, "reject-open"],
  ["e", "edit the text", openEdit, "edit-open"],
  ["←", "the place or tag to the left", edit(() => editor.step(-1)), "step-left", "ArrowLeft"],
  ["→", "the place or tag to the right", edit(() => editor.step(1)), "step-right", "ArrowRight"],
  ["Shift ←", "move the selected tag to the left", edit(() => editor.move(-1)), "tag-left", "Shift+ArrowLeft"],
  ["Shift →", "move the selected tag to the right", edit(() => editor.move(1)), "tag-right", "Shift+ArrowRight"],
  ["1, 2, …", "add that object's tag, or give its number to the selected tag"],
  ["Delete", "delete the selected tag", edit(() => editor.remove()), "tag-delete", "Delete", "Backspace"],
  ["u", "undo the last edit", edit(() => editor.undo()), "undo", "u", "Ctrl+z"],
  ["o", "the answer as it was tagged", edit(() => editor.replace(state.item.proposed)), "original"],
  ["b", "back to the item before", back, "back"],
  ["f", "forward to the item after", forward, "forward"],
  ["n", "the next item that you have not reviewed", next, "next"],
  ["m", "show or hide all masks", toggleMasks, "masks"],
  ["Shift 1, 2, …", "show or hide that object's mask"],
  ["g", "agreement between reviewers", openAgreement, "agreement-open"],
  ["w", "another reviewer's name", openName, "who"],
  ["?", "these shortcuts", openHelp, "help-open"],
];
const ALWAYS = ["b", "n", "g", "w", "?"]; // also when all items are done
const KEYS = new Map();
for (const [shown, , action, button, ...keys] of SHORTCUTS.filter((shortcut) => shortcut[2])) {
  for (const key of keys.length ? keys : [shown]) KEYS.set(key, action);
  byId(button).addEventListener("click", () => act(action));
}
byId("done-back").addEventListener("click", () => act(back));
byId("done-agreement").addEventListener("click", () => act(openAgreement));
byId("shortcuts").append(...SHORTCUTS.map(([keys, meaning]) =>
  node("div", {}, node("dt", {}, node("kbd", {}, keys)), node("dd", {}, meaning))));

for (const kind of ["keydown", "click"]) document.addEventListener(kind, () => say(""), true);

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey || event.metaKey || !state.reviewer) return;
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  const pressed = event.key.length > 1 ? event.key : event.key.toLowerCase();
  const key = (event.ctrlKey ? "Ctrl+" : "") + (event.shiftKey && pressed.length > 1 ? "Shift+" : "") + pressed;
  if (digit && !event.ctrlKey && state.item) {
    if (!event.shiftKey) act(() => typeDigit(digit));
    else if (picture.masks.has(Number(digit))) togglePicked(Number(digit));
    event.preventDefault();
  } else if (KEYS.has(key) && (state.item || ALWAYS.includes(key))) {
    if (!event.repeat || key.includes("Arrow")) act(KEYS.get(key));
    event.preventDefault();
  }
});

// A tag is dragged to the word that it should stand behind.
const wordUnder = (event) => event.target.closest?.(".word");
byId("answer").addEventListener("dragover", (event) => wordUnder(event) && event.preventDefault());
byId("answer").addEventListener("drop", (event) => {
  event.preventDefault();
  const index = Number(event.dataTransfer.getData("text/plain"));
  const at = Number(wordUnder(event)?.dataset.at ?? NaN);
  if (!Number.isNaN(at) && editor.answer.tags[index]) act(edit(() => editor.moveTo(index, at)));
});

act(begin);
