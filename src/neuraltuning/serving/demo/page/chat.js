// Talks with the server: `/v1/chat/completions` as a stream, and the demo's own endpoints. Knows nothing of the page.

// What went wrong, in a sentence for people. `code` is the server's name for it, or "gone".
export class Problem extends Error {
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

const GONE = "The server does not answer. Is the command still running? Start it again, then try once more.";
const BROKEN = "Something went wrong on the server. The window in which the command runs says what.";

// Asks and calls `onDelta` with each delta ({content}, {objects} or {images}) as it comes; gives the finish reason.
export async function streamChat(body, signal, onDelta) {
  const response = await send("/v1/chat/completions", { ...body, stream: true }, signal);
  let reason = null;
  for await (const event of events(response.body)) {
    if (event === "[DONE]") return reason;
    const chunk = JSON.parse(event);
    if (chunk.error) throw problemOf(chunk.error, null);
    const [choice] = chunk.choices;
    onDelta(choice.delta);
    reason = choice.finish_reason ?? reason;
  }
  throw new Problem("The reply broke off. Is the command still running? Try once more.", "gone");
}

// Posts JSON, or gets without a body; gives the answer's JSON.
export async function call(address, body, signal) {
  return (await send(address, body, signal)).json();
}

// Gets a file.
export async function load(address) {
  return (await send(address)).blob();
}

async function send(address, body, signal) {
  const posted = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(address, { ...(body && posted), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(GONE, "gone");
  }
  if (response.ok) return response;
  let detail = { message: BROKEN, code: null };
  try {
    detail = (await response.json()).error ?? detail;
  } catch {
    // not in the API's shape: the sentence above has to do
  }
  throw problemOf(detail, response.headers.get("Retry-After"));
}

function problemOf({ message, code, param, type }, retryAfter) {
  if (type === "server_error" && !code) return new Problem(BROKEN);
  if (code === "queue_full") {
    const seconds = Number(retryAfter) || 1;
    const when = seconds === 1 ? "a second" : `${seconds} seconds`;
    return new Problem(`The model is busy with other requests. Try again in ${when}.`, code);
  }
  if (param && message.startsWith(`${param}: `)) message = message.slice(param.length + 2);
  return new Problem(message.slice(0, 1).toUpperCase() + message.slice(1), code);
}

// The data of server-sent events, up to where the stream ends or breaks off.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return;
    }
    const { done, value } = read;
    if (done) return;
    const whole = (waiting + value).split("\n\n");
    waiting = whole.pop();
    for (const event of whole) if (event.startsWith("data: ")) yield event.slice(6);
  }
}
