// The picture with its objects' masks above it: which are shown, which one is lit, which one the pointer is on.

export class Picture {
  // `stage` is the element that holds it; `onPoint(number)` hears of the object under the pointer (or null), and
  // `onPick(number)` of one that was clicked.
  constructor(stage, onPoint, onPick) {
    this.stage = stage;
    this.hidden = new Set();
    this.masks = new Map();
    this.probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    stage.addEventListener("pointermove", (event) => event.pointerType === "mouse" && onPoint(this.objectAt(event)));
    stage.addEventListener("pointerleave", () => onPoint(null));
    stage.addEventListener("click", (event) => {
      const number = this.objectAt(event);
      if (number !== null) onPick(number);
    });
  }

  show(address, item) {
    this.hidden.clear();
    this.masks.clear();
    this.stage.replaceChildren();
    this.stage.style.aspectRatio = `${item.width} / ${item.height}`;
    this.stage.style.setProperty("--ratio", item.width / item.height);
    this.add(`${address}/picture`, `The picture of ${item.id}`, "picture");
    for (const object of item.objects) {
      const mask = this.add(`${address}/masks/${object.number}`, "", "mask");
      this.masks.set(object.number, mask);
    }
  }

  add(source, alt, kind) {
    const image = document.createElement("img");
    image.src = source;
    image.alt = alt;
    image.className = kind;
    image.draggable = false;
    this.stage.append(image);
    return image;
  }

  toggle(number) {
    if (!this.hidden.delete(number)) this.hidden.add(number);
    this.refresh();
  }

  get allHidden() {
    return this.hidden.size === this.masks.size;
  }

  toggleAll() {
    if (this.allHidden) this.hidden.clear();
    else for (const number of this.masks.keys()) this.hidden.add(number);
    this.refresh();
  }

  light(number) {
    this.stage.classList.toggle("lit", number !== null);
    for (const [other, mask] of this.masks) mask.classList.toggle("lit", other === number);
  }

  refresh() {
    for (const [number, mask] of this.masks) mask.classList.toggle("off", this.hidden.has(number));
  }

  // The uppermost object at an event's place, shown or not, or null.
  objectAt(event) {
    const area = this.stage.getBoundingClientRect();
    for (const [number, mask] of [...this.masks].reverse()) {
      if (!mask.complete || !mask.naturalWidth) continue;
      const x = Math.floor(((event.clientX - area.left) / area.width) * mask.naturalWidth);
      const y = Math.floor(((event.clientY - area.top) / area.height) * mask.naturalHeight);
      this.probe.clearRect(0, 0, 1, 1);
      this.probe.drawImage(mask, -x, -y);
      if (this.probe.getImageData(0, 0, 1, 1).data[3] > 0) return number;
    }
    return null;
  }
}
