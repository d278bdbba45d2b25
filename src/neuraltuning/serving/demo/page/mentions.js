// A reply's text as parts for people: plain text, and mentions of objects. Task tokens are never shown.
// What counts as a mention is the same as in neuraltuning/report/gallery.py.

const TOKEN = /\s*<(OBJ|GEN)>/g;
const HALF_TOKEN = /\s*<[A-Z]{0,4}$/; // a token whose end is still to come
const NAME = /\b(?:the|an?|its|this|that|these|those|both|my|your)\s[^,.;:?!<>]*$/i;
const ARTICLE = /^(?:The|An?|Its|This|That|These|Those|Both|My|Your)\b/;
const LAST_WORD = /[\p{L}\p{N}_]+\s*$/u;
const JOINT = /\b(?:and|or)\s/gi;

// [{ text, index }]: `index` is the object's, or null for plain text.
export function partsOf(reply) {
  const parts = [];
  let end = 0;
  let count = 0;
  for (const match of reply.matchAll(TOKEN)) {
    const before = reply.slice(end, match.index);
    end = match.index + match[0].length;
    if (match[1] !== "OBJ") {
      parts.push({ text: before, index: null });
      continue;
    }
    const start = before.length - nameAtEnd(before).length;
    parts.push({ text: before.slice(0, start), index: null }, { text: before.slice(start), index: count });
    count += 1;
  }
  parts.push({ text: reply.slice(end).replace(HALF_TOKEN, ""), index: null });
  return parts.filter(({ text, index }) => text || index !== null);
}

// What each object of a reply is called, in order; "The cat" is the cat wherever it stands.
export function namesOf(reply) {
  const mentions = partsOf(reply).filter(({ index }) => index !== null);
  return mentions.map(({ text, index }) => {
    return text.trim().replace(ARTICLE, (article) => article.toLowerCase()) || `object ${index + 1}`;
  });
}

// The end of `before` that names an object: from the first article on behind the last "and", else the last word.
function nameAtEnd(before) {
  const joints = [...before.matchAll(JOINT)];
  const last = joints.at(-1);
  const behind = last ? before.slice(last.index + last[0].length) : before;
  return (behind.match(NAME) ?? behind.match(LAST_WORD))?.[0] ?? "";
}
