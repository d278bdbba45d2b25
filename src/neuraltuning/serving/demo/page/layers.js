// Draws masks: each one a layer of its own, as large as its object. The same look as neuraltuning/report/overlay.py:
// a translucent fill, an outline in the same colour, a light line around it.

import { canvasOf, channels, readableOn } from "/page/dom.js";

const FILL = 0.5;
const HALO = "rgb(255 255 255 / .85)";
const PROBE = 160; // longer side of the small copy in which objects are looked up by place
const SHARPNESS = 4; // of the edges of masks that are enlarged

// A picture of data as it can be drawn.
export async function pictureOf(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  return picture;
}

// A mask on a picture of (width, height): { canvas, left, top, width, height }. The canvas is the part of it that holds
// the object, in its colour, and nothing elsewhere; left and top say where it lies.
// `mask` is a black and white picture, `box` the object's x, y, width and height in its pixels.
export function silhouette(mask, box, width, height, color) {
  const [x, y] = [width / mask.naturalWidth, height / mask.naturalHeight];
  const margin = 2 + 2 * lineWidth(width, height);
  const [left, top] = [Math.max(0, Math.floor(box[0] * x - margin)), Math.max(0, Math.floor(box[1] * y - margin))];
  const right = Math.min(width, Math.ceil((box[0] + box[2]) * x + margin));
  const bottom = Math.min(height, Math.ceil((box[1] + box[3]) * y + margin));
  const canvas = canvasOf(right - left, bottom - top);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(mask, -left, -top, width, height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  const [red, green, blue] = channels(color);
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = 127.5 + (data[at] - 127.5) * SHARPNESS; // clamped by the array
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
  }
  context.putImageData(pixels, 0, 0);
  return { canvas, left, top, width, height };
}

// A silhouette's layer, as `drawLayer` lays it on the picture.
export function layerOf(shape, color) {
  const { canvas } = shape;
  const line = lineWidth(shape.width, shape.height);
  const layer = canvasOf(canvas.width, canvas.height);
  const context = layer.getContext("2d");
  const around = shifted(canvas, line / 2, "source-over", canvasOf(canvas.width, canvas.height));
  tint(around, HALO);
  erase(around, canvas);
  const inside = shifted(canvas, line, "destination-in", copyOf(canvas));
  const outline = erase(copyOf(canvas), inside);
  context.drawImage(around, 0, 0);
  context.drawImage(tint(outline, color), 0, 0);
  context.globalAlpha = FILL;
  context.drawImage(inside, 0, 0);
  return { ...shape, canvas: layer };
}

export function drawLayer(context, { canvas, left, top }) {
  context.drawImage(canvas, left, top);
}

const lineWidth = (width, height) => Math.max(1, Math.min(width, height) / 140);

// What lies where: `at(x, y)` with 0..1 says whether the object is there; `middle` is its pixel nearest to its centre.
export function probeOf(shape) {
  const whole = shape.canvas;
  const scale = Math.min(1, PROBE / Math.max(whole.width, whole.height));
  const [width, height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(whole, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const filled = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x) + 3] > 100;
  const points = [];
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) if (filled(x, y)) points.push([x, y]);
  const mean = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const distance = ([x, y]) => (x - mean[0]) ** 2 + (y - mean[1]) ** 2;
  const nearest = points.reduce((best, point) => (distance(point) < distance(best) ? point : best), points[0] ?? [0, 0]);
  const [across, down] = [whole.width / width, whole.height / height]; // what one pixel of the copy stands for
  const at = (x, y) => filled(
    Math.floor((x * shape.width - shape.left) / across),
    Math.floor((y * shape.height - shape.top) / down),
  );
  const middle = [
    (shape.left + (nearest[0] + 0.5) * across) / shape.width,
    (shape.top + (nearest[1] + 0.5) * down) / shape.height,
  ];
  return { at, middle: points.length ? middle : null };
}

// A numbered disc on an object, at a place in 0..1.
export function drawBadge(context, [x, y], number, color) {
  const { width, height } = context.canvas;
  const radius = Math.max(7, Math.min(width, height) / 32);
  const inside = (at, side) => Math.min(Math.max(at * side, radius + 2), side - radius - 2);
  const [left, top] = [inside(x, width), inside(y, height)];
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.fillStyle = color;
  context.fill();
  context.lineWidth = Math.max(1, radius / 7);
  context.strokeStyle = HALO;
  context.stroke();
  context.fillStyle = readableOn(color);
  context.font = `600 ${1.2 * radius}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(number), left, top + 0.07 * radius);
}

// A box around an object; x, y, width and height in the picture's pixels, which `scale` makes the canvas's.
export function drawBox(context, [x, y, width, height], scale, color) {
  const line = Math.max(1.5, Math.min(context.canvas.width, context.canvas.height) / 180);
  const box = [x, y, width, height].map((value) => value * scale);
  context.lineJoin = "round";
  context.lineWidth = 2.2 * line;
  context.strokeStyle = HALO;
  context.strokeRect(...box);
  context.lineWidth = line;
  context.strokeStyle = color;
  context.strokeRect(...box);
}

// Draws `shape` onto `canvas` eight times, moved by so many pixels each way.
function shifted(shape, pixels, operation, canvas) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = operation;
  for (let step = 0; step < 8; step += 1) {
    const angle = (step * Math.PI) / 4;
    context.drawImage(shape, pixels * Math.cos(angle), pixels * Math.sin(angle));
  }
  return canvas;
}

function copyOf(shape) {
  const canvas = canvasOf(shape.width, shape.height);
  canvas.getContext("2d").drawImage(shape, 0, 0);
  return canvas;
}

function erase(canvas, shape) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "destination-out";
  context.drawImage(shape, 0, 0);
  return canvas;
}

function tint(canvas, color) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}
