// Editing of one answer: its caret, which stands at a place or on a tag, and what was before. Knows nothing of the page.

import * as answers from "/page/answer.js";

export class Editor {
  // `answer` is its text with tags; `onEdit` hears of each change of it.
  constructor(answer, onEdit) {
    this.answer = answers.parse(answer);
    this.onEdit = onEdit;
    this.history = []; // answer and caret before each edit
    this.caret = this.answer.tags.length
      ? this.tagCaret(0)
      : { at: answers.places(this.answer)[0] ?? 0, tag: null };
  }

  get text() {
    return answers.format(this.answer);
  }

  // The number of the selected tag, or null.
  get selected() {
    return this.caret.tag === null ? null : this.answer.tags[this.caret.tag].number;
  }

  // The words before the caret, for people.
  get mention() {
    return answers.mention(this.answer.text, this.caret.at);
  }

  get canUndo() {
    return this.history.length > 0;
  }

  tagCaret(index) {
    return { at: this.answer.tags[index].at, tag: index };
  }

  // Every place where the caret can stand, in order: at each place its tags, and then the place itself.
  stops() {
    return answers.places(this.answer).flatMap((at) => [
      ...this.answer.tags.flatMap((tag, index) => (tag.at === at ? [this.tagCaret(index)] : [])),
      { at, tag: null },
    ]);
  }

  step(direction) {
    const all = this.stops();
    const now = all.findIndex((stop) => stop.at === this.caret.at && stop.tag === this.caret.tag);
    this.caret = all[Math.min(all.length - 1, Math.max(0, now + direction))] ?? this.caret;
  }

  placeCaret(at) {
    this.caret = { at, tag: null };
  }

  select(tag) {
    this.caret = this.tagCaret(tag);
  }

  edit(answer, caret) {
    this.history.push([this.answer, this.caret]);
    [this.answer, this.caret] = [answer, caret];
    this.onEdit(this.text);
  }

  undo() {
    if (!this.canUndo) return;
    [this.answer, this.caret] = this.history.pop();
    this.onEdit(this.text);
  }

  // Moves the selected tag to the next place.
  move(direction) {
    const all = answers.places(this.answer);
    const at = all[all.indexOf(this.caret.at) + direction];
    if (this.caret.tag !== null && at !== undefined) this.moveTo(this.caret.tag, at);
  }

  moveTo(tag, at) {
    const [answer, index] = answers.moved(this.answer, tag, at);
    this.edit(answer, { at, tag: index });
  }

  remove() {
    const { at, tag } = this.caret;
    if (tag !== null) this.edit(answers.removed(this.answer, tag), { at, tag: null });
  }

  // Gives the selected tag this object's number, or adds a tag where the caret stands.
  put(number) {
    const { at, tag } = this.caret;
    if (tag !== null) {
      this.edit(answers.renumbered(this.answer, tag, number), this.caret);
    } else {
      const [answer, index] = answers.added(this.answer, at, number);
      this.edit(answer, { at, tag: index });
    }
  }

  // Another text; the caret stays as near as it can.
  replace(text) {
    const answer = answers.parse(text);
    const all = answers.places(answer);
    const at = all.filter((place) => place <= this.caret.at).at(-1) ?? all[0] ?? 0;
    this.edit(answer, { at, tag: null });
  }
}
