// The list of what was found for a turn, and the buttons for masks, boxes and files.

import { byId, node, paint, percent } from "/page/dom.js";
import { cocoJson, fileName, save, saveCanvas } from "/page/downloads.js";
import { namesOf } from "/page/mentions.js";
import { maskUrl } from "/page/viewer.js";

export class Legend {
  // `onLight(object)` hears of the object that is looked at (or null), `onToggle(objects, hidden)` of those to show or
  // hide.
  constructor(viewer, onLight, onToggle) {
    this.viewer = viewer;
    this.onLight = onLight;
    this.onToggle = onToggle;
    this.turn = null;
    byId("masks").addEventListener("click", () => onToggle(this.turn.objects, this.anyShown));
    byId("boxes").addEventListener("click", () => {
      viewer.boxes = !viewer.boxes;
      byId("boxes").setAttribute("aria-pressed", viewer.boxes);
      viewer.draw();
    });
    byId("save-overlay").addEventListener("click", async () => saveCanvas(await viewer.overlay(), "overlay.png"));
    byId("save-coco").addEventListener("click", () => {
      const { picture, objects, reply } = this.turn;
      save(cocoJson(picture, objects, namesOf(reply)), "objects.json");
    });
  }

  get anyShown() {
    return this.turn.objects.some((object) => !object.hidden);
  }

  // Shows a turn's objects; null, or a turn without any, hides the list.
  show(turn) {
    this.turn = turn;
    byId("found").hidden = !turn?.objects.length;
    if (byId("found").hidden) return;
    const names = namesOf(turn.reply);
    byId("legend").replaceChildren(...turn.objects.map((object) => this.row(object, names[object.index])));
    this.refresh();
  }

  row(object, name) {
    const number = object.index + 1;
    const light = () => this.onLight(object);
    const dark = () => this.onLight(null);
    const toggle = node(
      "button",
      { class: "toggle", onclick: () => this.onToggle([object], !object.hidden) },
      paint(node("span", { class: "mark" }, String(number)), this.viewer.colorOf(object)),
      node("span", { class: "name" }, name),
    );
    const sure = node("span", { class: "score", title: "How sure the mask is: its mean probability inside itself" });
    sure.textContent = object.area ? `${percent(object.score)} sure` : "nothing found";
    const keep = () => save(maskUrl(object), `${fileName(name)}-${number}.png`);
    const download = node("button", { class: "quiet", title: `Save the mask of ${name} as PNG`, onclick: keep }, "Save mask");
    download.setAttribute("aria-label", `Save the mask of ${name}, number ${number}, as PNG`);
    const row = node("li", { onpointerenter: light, onpointerleave: dark, onfocusin: light, onfocusout: dark });
    row.append(toggle, sure, download);
    return row;
  }

  // Brings the buttons up to which objects are hidden.
  refresh() {
    const { objects } = this.turn;
    byId("masks").setAttribute("aria-pressed", this.anyShown);
    [...byId("legend").children].forEach((row, place) => {
      const { hidden } = objects[place];
      const button = row.querySelector(".toggle");
      button.setAttribute("aria-pressed", !hidden);
      button.title = hidden ? "Show its mask" : "Hide its mask";
    });
  }

  light(object) {
    [...byId("legend").children].forEach((row, place) => {
      row.classList.toggle("lit", this.turn.objects[place] === object);
    });
  }
}
