// An answer as plain text and tags at places in it: { text, tags: [{ at, number }] }. Knows nothing of the page.
// The same as answers.py, but that places count UTF-16 units, as strings here do.

const TAG = /\s*<OBJ-(\d{1,3})>/g;
const WORD = /[\p{L}\p{N}\p{M}]+(?:['’-][\p{L}\p{N}\p{M}]+)*/gu;

export function parse(answer) {
  let text = "";
  let end = 0;
  const tags = [];
  for (const match of answer.matchAll(TAG)) {
    text += answer.slice(end, match.index);
    tags.push({ at: text.length, number: Number(match[1]) });
    end = match.index + match[0].length;
  }
  return { text: text + answer.slice(end), tags };
}

export function format({ text, tags }) {
  let answer = "";
  let end = 0;
  for (const tag of tags) {
    answer += `${text.slice(end, tag.at)} <OBJ-${tag.number}>`;
    end = tag.at;
  }
  return answer + text.slice(end);
}

// [start, end] of each word.
export function words(text) {
  return [...text.matchAll(WORD)].map((match) => [match.index, match.index + match[0].length]);
}

// Where a tag can stand, in order: behind each word, and where tags stand already.
export function places({ text, tags }) {
  const found = new Set([...words(text).map(([, end]) => end), ...tags.map((tag) => tag.at)]);
  return [...found].sort((one, other) => one - other);
}

// The words before a place, for people: at most three.
export function mention(text, at) {
  const before = words(text).filter(([, end]) => end <= at).slice(-3);
  return before.length ? text.slice(before[0][0], at) : "";
}

// A new answer with a tag behind the others at a place, and the tag's index.
export function added({ text, tags }, at, number) {
  const index = tags.filter((tag) => tag.at <= at).length;
  return [{ text, tags: [...tags.slice(0, index), { at, number }, ...tags.slice(index)] }, index];
}

export function removed({ text, tags }, index) {
  return { text, tags: tags.filter((_, other) => other !== index) };
}

export function renumbered({ text, tags }, index, number) {
  return { text, tags: tags.map((tag, other) => (other === index ? { at: tag.at, number } : tag)) };
}

// A new answer with a tag moved, and the tag's new index.
export function moved(answer, index, at) {
  return added(removed(answer, index), at, answer.tags[index].number);
}
