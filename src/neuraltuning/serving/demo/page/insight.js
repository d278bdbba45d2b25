// The panel that looks inside a reply: which neurons were active, and where each <OBJ> looked. It asks the server only
// while it is open. Knows nothing of conversations.

import { byId, canvasOf, node, paint, percent } from "/page/dom.js";
import { namesOf } from "/page/mentions.js";

const CELL = { width: 6, height: 8 }; // pixels of a neuron in the map
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
const GLOW = [[0, 0, 4], [120, 28, 109], [237, 105, 37], [252, 255, 164]]; // inferno
const MAP_SIDE = 224; // pixels of the longer side of a map over the picture

export class Insight {
  // `look(turn)` asks the server; `colorOf(index)` gives an object's colour.
  constructor(look, colorOf) {
    this.look = look;
    this.colorOf = colorOf;
    this.turn = null;
    byId("insight").addEventListener("toggle", () => this.draw());
  }

  // Is about a turn from now on; null, or one without a whole reply, hides the panel.
  show(turn) {
    const whole = turn && turn.state !== "streaming" && turn.state !== "failed" && turn.reply.trim();
    byId("insight").hidden = !whole;
    this.turn = whole ? turn : null;
    this.draw();
  }

  async draw() {
    const { turn } = this;
    if (!turn || !byId("insight").open) return;
    if (!turn.insight) {
      this.fill(node("p", { class: "soft" }, "Looking …"));
      turn.insight = this.look(turn);
    }
    let found;
    try {
      found = await turn.insight;
    } catch (error) {
      turn.insight = null; // asked again the next time
      const again = node("button", { onclick: () => this.draw() }, "Try again");
      if (turn === this.turn) this.fill(node("div", { class: "problem" }, node("p", {}, error.message), again));
      return;
    }
    if (turn === this.turn) this.fill(...this.neurons(found), ...this.looks(found, turn));
  }

  fill(...children) {
    byId("inside").replaceChildren(...children);
  }

  neurons({ layers, tokens }) {
    const title = node("h3", {}, "Active neurons");
    if (!layers.length) return [title, node("p", { class: "soft" }, "This model's tuner has no sparse neurons to show.")];
    const shares = layers.flatMap(({ active }) => active);
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const share = (condition) => percent(shares.filter(condition).length / shares.length);
    const words = `${tokens} token${tokens === 1 ? "" : "s"}`;
    const summary = `Tuning gave each layer of the language model a network of ${layers[0].active.length} neurons. This `
      + `reply has ${words}. At each of them ${percent(mean)} of the neurons were active; of all neurons, `
      + `${share((value) => value > 0.999)} were so at every token and ${share((value) => value === 0)} at none.`;
    return [title, node("p", { class: "soft" }, summary), neuronMap(layers)];
  }

  looks({ objects }, turn) {
    if (!objects.length) return [];
    const names = namesOf(turn.reply);
    const named = objects.some((object) => object.named.length);
    const what = "Behind each colored name the model wrote <OBJ>, of which the mask is made. Brightest is where that token "
      + "looked most; every map has a scale of its own. "
      + (named ? "On the right, its look at the words that describe the picture is laid on what they describe." : "");
    return [
      node("h3", {}, "Where each <OBJ> looked"),
      node("p", { class: "soft" }, what),
      node("ul", { class: "looks" }, ...objects.map((object) => this.lookOf(object, names[object.index], turn.picture))),
    ];
  }

  lookOf({ index, patches, named, shares }, name, picture) {
    const mark = paint(node("span", { class: "mark" }, String(index + 1)), this.colorOf(index));
    const maps = [[patches, "the picture", shares.patches], [named, "its description", shares.names]];
    const figures = maps.filter(([map]) => map.length).map(([map, where, share]) => {
      const canvas = mapOver(picture, map);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Where ${name} was looked for in ${where}: most in ${strongest(map)}`);
      const caption = node("figcaption", {}, `${percent(share, 1)} of its attention on ${where}`);
      return node("figure", {}, canvas, caption);
    });
    return node("li", {}, node("p", { class: "of" }, mark, name), node("div", { class: "maps" }, ...figures));
  }
}

// Layers by neurons, with its axes, its scale, and a line that says what is under the pointer or the arrow keys.
function neuronMap(layers) {
  const [rows, columns] = [layers.length, layers[0].active.length];
  const canvas = canvasOf(columns * CELL.width, rows * CELL.height);
  const context = canvas.getContext("2d");
  layers.forEach(({ active }, row) => active.forEach((share, column) => {
    context.fillStyle = `rgb(${shade(HEAT, share).join(" ")})`;
    context.fillRect(column * CELL.width, row * CELL.height, CELL.width, CELL.height);
  }));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Neurons of ${rows} layers; the arrow keys go from one to the next`);
  canvas.tabIndex = 0;

  const help = "Point at a neuron, or go there with the arrow keys.";
  const readout = node("p", { class: "soft readout", "aria-live": "polite" }, help);
  const cursor = node("span", { class: "cursor", hidden: true });
  let place = [0, 0];
  const point = (row, column) => {
    place = [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
    const { layer, active } = layers[place[0]];
    readout.textContent = `Layer ${layer}, neuron ${place[1]}: active at ${percent(active[place[1]])} of the reply's tokens`;
    cursor.hidden = false;
    cursor.style.left = `${(100 * place[1]) / columns}%`;
    cursor.style.top = `${(100 * place[0]) / rows}%`;
    cursor.style.width = `${100 / columns}%`;
    cursor.style.height = `${100 / rows}%`;
  };
  canvas.addEventListener("pointermove", (event) => {
    const area = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    point(Math.floor(y * rows), Math.floor(x * columns));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    if (cursor.hidden) point(0, 0);
    else point(place[0] + step[0], place[1] + step[1]);
  });

  const scale = canvasOf(64, 1);
  for (let x = 0; x < 64; x += 1) {
    scale.getContext("2d").fillStyle = `rgb(${shade(HEAT, x / 63).join(" ")})`;
    scale.getContext("2d").fillRect(x, 0, 1, 1);
  }
  return node(
    "figure",
    { class: "neurons" },
    node(
      "div",
      { class: "axes" },
      node("span", { class: "y-name" }, "decoder layer"),
      node("span", { class: "y-ticks" }, ...ends(layers[0].layer, layers.at(-1).layer)),
      node("div", { class: "plot" }, canvas, cursor),
      node("span", { class: "x-ticks" }, ...ends(0, columns - 1)),
      node("span", { class: "x-name" }, "neuron"),
    ),
    readout,
    node("p", { class: "scale soft" }, "at no token", scale, "at every token"),
  );
}

const ends = (first, last) => [node("span", {}, String(first)), node("span", {}, String(last))];

// A map of patches over the picture in grey: the brighter, the more.
function mapOver(picture, map) {
  const scale = MAP_SIDE / Math.max(picture.width, picture.height);
  const canvas = canvasOf(...[picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale))));
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(picture.image, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  const most = Math.max(...map.flat());
  const [height, width] = [canvas.height / map.length, canvas.width / map[0].length];
  map.forEach((row, y) => row.forEach((value, x) => {
    const share = most > 0 ? value / most : 0;
    const [left, top] = [Math.round(x * width), Math.round(y * height)];
    context.fillStyle = `rgb(${shade(GLOW, share).join(" ")} / ${0.35 + 0.45 * share})`;
    context.fillRect(left, top, Math.round((x + 1) * width) - left, Math.round((y + 1) * height) - top);
  }));
  return canvas;
}

// Where a map has its largest value, in words.
function strongest(map) {
  const most = Math.max(...map.flat());
  const row = map.findIndex((values) => values.includes(most));
  return `row ${row + 1} of ${map.length}, column ${map[row].indexOf(most) + 1} of ${map[row].length}`;
}

// The colour of a share, 0 to 1, on a scale of colours at equal distances.
function shade(scale, share) {
  const at = Math.min(1, Math.max(0, share)) * (scale.length - 1);
  const lower = Math.min(scale.length - 2, Math.floor(at));
  return scale[lower].map((value, channel) => Math.round(value + (at - lower) * (scale[lower + 1][channel] - value)));
}
