// Elements made by hand: text goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

// An element with children. `onclick: f` and the like listen; `class` and names with a dash are attributes, other names
// are properties.
export function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "role" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// Gives an element a colour, and the one of black and white that is read on it.
export function paint(element, color) {
  element.style.setProperty("--color", color);
  element.style.setProperty("--on", readableOn(color));
  return element;
}

export function readableOn(color) {
  const [red, green, blue] = channels(color);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 150 ? "#ffffff" : "#000000";
}

// "#0072b2" as red, green and blue, 0 to 255.
export const channels = (color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));

export function canvasOf(width, height) {
  return node("canvas", { width, height });
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;
