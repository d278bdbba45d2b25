// Elements made by hand: text goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

// An element with children. `onclick: f` and the like listen; other names are properties, or else attributes.
export function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Replaces an element's children, and keeps the focus on the same one of its buttons.
export function redraw(id, children) {
  const focused = [...byId(id).querySelectorAll("button")].indexOf(document.activeElement);
  byId(id).replaceChildren(...children);
  byId(id).querySelectorAll("button")[focused]?.focus();
}

// Gives an element a colour, and the one of black and white that is read on it.
export function paint(element, color) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  element.style.setProperty("--color", color);
  element.style.setProperty("--on", 0.299 * red + 0.587 * green + 0.114 * blue < 150 ? "#ffffff" : "#000000");
}
