// The demo's page: pictures come in, requests go to the server, replies are shown. What is kept is kept here alone.

import { Problem, call, streamChat } from "/page/chat.js";
import { asksForDrawing, messagesOf, newTurn } from "/page/conversation.js";
import { byId } from "/page/dom.js";
import { Insight } from "/page/insight.js";
import { Legend } from "/page/legend.js";
import { namesOf, partsOf } from "/page/mentions.js";
import { takePictures } from "/page/pictures.js";
import { explainTasks, offerInLine, offerRequests } from "/page/requests.js";
import { TurnView } from "/page/turns.js";
import { Viewer } from "/page/viewer.js";

const PAUSE = 500; // milliseconds between questions whether the model is loaded

const state = {
  session: null,
  picture: null,
  conversation: 0,
  turns: [],
  views: new Map(), // turn -> TurnView
  current: null, // the turn that the picture, the list of objects and the insight are about
  asking: null, // an AbortController while a reply comes
};
let viewer = null;
let legend = null;
let insight = null;

// ---- beginning

async function begin() {
  const session = await loaded();
  state.session = session;
  byId("model").textContent = session.model;
  document.title = `${session.model} · neuraltuning`;
  viewer = new Viewer(byId("canvas"), session.palette, (object) => light(object), (object) => toggle([object]));
  legend = new Legend(viewer, (object) => light(object), (objects, hidden) => toggle(objects, hidden));
  insight = new Insight(
    (turn) => call("/demo/look", { model: session.model, messages: messagesOf(turn, state.turns), reply: turn.reply }),
    (index) => viewer.colorOf({ index }),
  );
  takePictures(session, usePicture, (error) => say(error.message));
  byId("offered").hidden = false;
  offer();
  document.body.classList.add("ready");
}

// What the page begins with, once the model is loaded.
async function loaded() {
  for (;;) {
    try {
      const session = await call("/demo/session");
      say("");
      return session;
    } catch (error) {
      say(error.code === "loading" ? "The model is being loaded …" : error.message);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

// ---- pictures

function usePicture(picture) {
  say("");
  state.picture = picture;
  state.conversation += 1;
  byId("hint").textContent = "Pick an example, or ask in your own words.";
  offer();
  show(null);
}

// Shows a turn: its picture, what was found in it, and a look inside; null shows the picture alone.
function show(turn) {
  const before = state.current;
  state.current = turn;
  if (turn?.picture) {
    const other = turn.picture !== state.picture;
    Object.assign(state, { picture: turn.picture, conversation: turn.conversation });
    if (other) offer();
  }
  byId("begin").hidden = state.picture !== null;
  byId("stage").hidden = byId("switch").hidden = state.picture === null;
  if (state.picture) viewer.show(state.picture, turn?.objects ?? []);
  showObjects(turn);
  insight.show(turn);
  describe();
  for (const each of new Set([before, turn])) if (each) refresh(each);
}

// Says in words what the picture shows, for those who do not see it.
function describe() {
  if (!state.picture) return;
  const turn = state.current;
  const names = turn ? namesOf(turn.reply) : [];
  const found = (turn?.objects ?? []).filter((object) => !object.hidden).map((object) => names[object.index]);
  const masks = found.length ? `, with masks of: ${found.join("; ")}` : "";
  byId("canvas").setAttribute("aria-label", `${state.picture.name}${masks}`);
}

// ---- objects

function light(object) {
  viewer.light(object);
  const turn = state.current;
  if (!turn) return;
  legend.light(object);
  state.views.get(turn)?.lightMention(object ? object.index : null);
}

function toggle(objects, hidden = !objects[0].hidden) {
  for (const object of objects) object.hidden = hidden;
  viewer.draw();
  legend.refresh();
  refresh(state.current);
  describe();
}

// ---- asking

// Offers what can be asked about the picture.
function offer() {
  if (!state.picture) explainTasks(state.session.able);
  else if (state.turns.length) offerInLine(state.picture.requests, pickRequest);
  else offerRequests(state.picture.requests, pickRequest);
}

function pickRequest({ text }) {
  if (state.asking || text.endsWith(" ")) {
    byId("text").value = text;
    fit();
    byId("text").focus();
  } else {
    ask(text, true); // an example means nothing of what was said before
  }
}

// Asks in the conversation, or by itself; a drawing is made of words alone, and never goes on with anything.
function ask(text, alone = false) {
  const { able } = state.session;
  const drawing = able.draw && asksForDrawing(text);
  if (!drawing && !state.picture) {
    say("Choose a picture first: drop one, or take an example." + (able.draw ? " Only a drawing needs none." : ""));
    return false;
  }
  say("");
  const turn = newTurn(state.conversation, drawing ? null : state.picture, text, alone);
  const last = state.turns.findLast((other) => other.picture);
  const first = turn.conversation !== last?.conversation;
  state.turns.push(turn);
  const view = new TurnView(turn, actions, (index) => viewer.colorOf({ index }), first);
  state.views.set(turn, view);
  byId("turns").append(view.element);
  byId("welcome").hidden = true;
  byId("new").hidden = false;
  document.body.classList.add("talking");
  offer();
  reply(turn);
  return true;
}

// Gets a turn's reply.
function reply(turn) {
  Object.assign(turn, { reply: "", objects: [], drawings: [], problem: null, reason: null, insight: null });
  show(turn);
  return converse(turn, turn.seed, (delta) => {
    if (delta.content) turn.reply += delta.content;
    for (const object of delta.objects ?? []) found(turn, object);
    for (const { image_url: { url } } of delta.images ?? []) turn.drawings.push({ seed: turn.seed, url });
    refresh(turn);
  });
}

// Draws once more, with the next seed.
function drawAgain(turn) {
  const seed = turn.drawings.at(-1).seed + 1;
  return converse(turn, seed, (delta) => {
    for (const { image_url: { url } } of delta.images ?? []) turn.drawings.push({ seed, url });
    refresh(turn);
  });
}

// Sends a turn's messages and hears what comes, until the end, a problem, or Stop.
async function converse(turn, seed, onDelta) {
  if (state.asking) return;
  const asking = new AbortController();
  state.asking = asking;
  Object.assign(turn, { state: "streaming", problem: null });
  busy(true);
  refresh(turn);
  state.views.get(turn).element.scrollIntoView({ block: "end", behavior: "smooth" });
  announce("The model is replying.");
  const messages = messagesOf(turn, state.turns);
  turn.goesOn = messages.length > 1;
  const body = { model: state.session.model, messages, seed, mask_png: true };
  try {
    turn.reason = await streamChat(body, asking.signal, onDelta);
    turn.state = "done";
  } catch (error) {
    turn.state = asking.signal.aborted ? "stopped" : "failed";
    if (turn.state === "failed") turn.problem = error;
    if (turn.state === "failed" && !(error instanceof Problem)) throw error;
  } finally {
    state.asking = null;
    busy(false);
    if (state.turns.includes(turn)) finish(turn);
  }
}

function finish(turn) {
  if (turn === state.current) show(turn);
  else refresh(turn);
  state.views.get(turn).element.scrollIntoView({ block: "end", behavior: "smooth" });
  const said = partsOf(turn.reply).map(({ text }) => text).join("");
  const [masks, drawn] = [turn.objects.length, turn.drawings.length];
  const more = [masks && `${masks} mask${masks > 1 ? "s" : ""}`, drawn && "a picture"].filter(Boolean).join(" and ");
  announce(turn.problem ? turn.problem.message : `${said} ${more ? `With ${more}.` : ""}`);
}

// A mask has come.
async function found(turn, object) {
  object.hidden = false;
  turn.objects.push(object);
  await viewer.prepare(object, turn.picture);
  if (turn === state.current) {
    viewer.draw();
    showObjects(turn);
    describe();
  }
  refresh(turn);
}

function showObjects(turn) {
  byId("stage").classList.toggle("found", Boolean(turn?.objects.length));
  legend.show(turn);
}

const actions = {
  light(turn, index) {
    if (turn === state.current) light(index === null ? null : turn.objects[index] ?? null);
  },
  toggle(turn, index) {
    if (turn !== state.current) show(turn);
    else if (turn.objects[index]) toggle([turn.objects[index]]);
  },
  show,
  again: (turn) => !state.asking && reply(turn),
  drawAgain,
  afresh(turn) {
    if (state.asking) return;
    state.picture = turn.picture;
    state.conversation += 1;
    ask(turn.text);
  },
};

// ---- the page

function refresh(turn) {
  state.views.get(turn)?.refresh(turn === state.current);
}

function busy(asking) {
  byId("transcript").setAttribute("aria-busy", asking);
  const focused = document.activeElement === byId(asking ? "send" : "stop");
  byId("send").hidden = asking;
  byId("stop").hidden = !asking;
  if (focused) byId(asking ? "stop" : "send").focus();
}

function say(sentence) {
  byId("notice").hidden = !sentence;
  byId("notice").textContent = sentence;
}

const announce = (sentence) => {
  byId("announce").textContent = sentence;
};

// Makes the field as high as what it holds.
function fit() {
  const field = byId("text");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function startOver() {
  state.asking?.abort();
  state.turns = [];
  state.views.clear();
  state.conversation += 1;
  byId("turns").replaceChildren();
  byId("welcome").hidden = false;
  byId("new").hidden = true;
  document.body.classList.remove("talking");
  say("");
  offer();
  show(null);
  byId("text").focus();
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (!text || state.asking || !state.session || !ask(text)) return;
  byId("text").value = "";
  fit();
});
byId("text").addEventListener("input", fit);
byId("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});
byId("stop").addEventListener("click", () => state.asking?.abort());
byId("new").addEventListener("click", startOver);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") state.asking?.abort();
});

begin();
