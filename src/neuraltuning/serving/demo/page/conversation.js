// What was said: turns, and the messages that the server gets of them. Knows nothing of the page.

const DRAWING = /^\W*(?:(?:please|can you|could you|now)\s+)*(?:draw|paint|sketch|(?:make|create|generate)\s+(?:me\s+)?(?:an?\s+)?(?:image|picture|drawing))\b/i;

// Whether a text asks for a picture to be drawn.
export const asksForDrawing = (text) => DRAWING.test(text);

let turnCount = 0;

// A turn: what was asked, and what has come of it so far.
// picture: what it is about, or null: a drawing is made of words alone, and its turn stands by itself.
// conversation: turns with the same number belong together. alone: it is not to go on with the earlier ones; `goesOn`
// says whether it did.
// objects: as the server sends them, with `hidden` and what the viewer adds. drawings: { seed, url }.
// state: "streaming", "done", "stopped" or "failed"; then `problem` says of what.
export function newTurn(conversation, picture, text, alone) {
  turnCount += 1;
  return {
    number: turnCount,
    conversation,
    picture,
    text,
    alone,
    goesOn: false,
    reply: "",
    objects: [],
    drawings: [],
    seed: 0,
    state: "streaming",
    problem: null,
    reason: null,
    insight: null,
  };
}

// The messages of a turn: the earlier ones of its conversation that were answered, and its own text.
export function messagesOf(turn, turns) {
  const own = [{ role: "user", content: turn.text }];
  if (turn.picture === null) return own;
  const earlier = turns.filter(
    (other) => !turn.alone && other.conversation === turn.conversation && other.number < turn.number
      && other.picture !== null && other.state !== "failed" && other.reply.trim(),
  );
  const messages = earlier.flatMap((other) => [
    { role: "user", content: other.text },
    { role: "assistant", content: other.reply },
  ]);
  const [first, ...rest] = [...messages, ...own];
  const picture = { type: "image_url", image_url: { url: turn.picture.url } };
  return [{ role: "user", content: [picture, { type: "text", text: first.content }] }, ...rest];
}
