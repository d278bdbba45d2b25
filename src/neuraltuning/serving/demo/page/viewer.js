// The picture with what was found in it: which masks and boxes are shown, which object is lit, which one the pointer is
// on. Knows nothing of conversations.

import { canvasOf } from "/page/dom.js";
import { drawBadge, drawBox, drawLayer, layerOf, pictureOf, probeOf, silhouette } from "/page/layers.js";

const LEAST = 960; // the canvas's longer side, whatever the picture's, so that outlines are fine
const MOST = 1600;
const DIMMED = 0.25; // of masks beside the one that is lit

export class Viewer {
  // `onPoint(object)` hears of the object under the pointer (or null), `onPick(object)` of one that was clicked.
  constructor(canvas, palette, onPoint, onPick) {
    this.canvas = canvas;
    this.palette = palette;
    this.picture = null;
    this.objects = [];
    this.lit = null;
    this.boxes = false;
    this.frame = null;
    canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && onPoint(this.objectAt(event)));
    canvas.addEventListener("pointerleave", () => onPoint(null));
    canvas.addEventListener("click", (event) => {
      const object = this.objectAt(event);
      if (object) onPick(object);
    });
  }

  colorOf(object) {
    return this.palette[object.index % this.palette.length];
  }

  // Shows a picture (as pictures.js opens it) and objects on it.
  show(picture, objects) {
    if (picture !== this.picture) {
      [this.canvas.width, this.canvas.height] = shownSize(picture);
      this.canvas.parentElement.style.setProperty("--ratio", picture.width / picture.height);
    }
    this.picture = picture;
    this.objects = objects;
    this.lit = null;
    this.draw();
  }

  // Makes an object ready to be shown on a picture: its layer, and where it is.
  async prepare(object, picture) {
    const shape = await this.shapeOf(object, ...shownSize(picture));
    object.layer = layerOf(shape, this.colorOf(object));
    object.probe = probeOf(shape);
  }

  async shapeOf(object, width, height) {
    return silhouette(await pictureOf(maskUrl(object)), object.bbox, width, height, this.colorOf(object));
  }

  light(object) {
    if (object === this.lit) return;
    this.lit = object;
    this.draw();
  }

  // Draws what is shown with the next frame, however often it is called until then.
  draw() {
    if (!this.picture || this.frame !== null) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext("2d");
    onWhite(context, this.picture.image);
    const shown = this.shown();
    const dim = this.lit !== null && shown.includes(this.lit);
    for (const object of shown) {
      context.globalAlpha = dim && object !== this.lit ? DIMMED : 1;
      drawLayer(context, object.layer);
    }
    context.globalAlpha = 1;
    this.drawMarks(context);
  }

  // The picture with what is shown on it, in its own size, for keeping.
  async overlay() {
    const { width, height, image } = this.picture;
    const canvas = canvasOf(width, height);
    const context = canvas.getContext("2d");
    onWhite(context, image);
    for (const object of this.shown()) {
      drawLayer(context, layerOf(await this.shapeOf(object, width, height), this.colorOf(object)));
    }
    this.drawMarks(context);
    return canvas;
  }

  // Boxes and numbers.
  drawMarks(context) {
    const scale = context.canvas.width / this.picture.width;
    const shown = this.shown();
    if (this.boxes) for (const object of shown) drawBox(context, object.bbox, scale, this.colorOf(object));
    for (const object of shown) {
      if (object.probe.middle) drawBadge(context, object.probe.middle, object.index + 1, this.colorOf(object));
    }
  }

  shown() {
    return this.objects.filter((object) => object.layer && !object.hidden);
  }

  // The uppermost object at an event's place, shown or not, or null.
  objectAt(event) {
    const area = this.canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    return [...this.objects].reverse().find((object) => object.probe?.at(x, y)) ?? null;
  }
}

export const maskUrl = (object) => `data:image/png;base64,${object.mask_png}`;

// Width and height of the canvas that shows a picture.
function shownSize(picture) {
  const longer = Math.max(picture.width, picture.height);
  const scale = Math.min(MOST, Math.max(LEAST, longer)) / longer;
  return [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
}

function onWhite(context, image) {
  const { width, height } = context.canvas;
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
}
