/* What lies over the points: names of groups, small images when near, and a mark. */
const NEAR = 160; // points in sight, up to which images are shown
const place = (element, x, y) => { element.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`; };

export class Labels {
  constructor(layer, groups) {
    this.entries = groups.map(({ name, place: at, colour }) => {
      const element = document.createElement("span");
      element.className = "cs-maplabel";
      element.textContent = name;
      element.style.borderColor = colour;
      layer.append(element);
      return { element, at };
    });
  }
  /* The first of those that would lie over each other is shown: the one of the larger group. */
  draw(view) {
    const taken = [];
    for (const entry of this.entries) {
      const { element, at } = entry;
      entry.size ||= [element.offsetWidth, element.offsetHeight];
      const [width, height] = entry.size;
      let [x, y] = view.toScreen(...at);
      const inside = x > 0 && x < view.width && y > 0 && y < view.height;
      x = Math.min(Math.max(x, width / 2 + 4), view.width - width / 2 - 4);
      y = Math.min(Math.max(y, view.top + height / 2 + 4), view.height - height / 2 - 4);
      const free = inside && taken.every(([ox, oy, ow, oh]) =>
        Math.abs(ox - x) > (ow + width) / 2 + 4 || Math.abs(oy - y) > (oh + height) / 2 + 2);
      element.classList.toggle("cs-off", !free);
      if (!free) continue;
      taken.push([x, y, width, height]);
      place(element, x, y);
    }
  }
}

export class Thumbnails {
  constructor(layer, source) { this.layer = layer; this.source = source; this.shown = new Map(); }
  /* Images of the points in sight, if they are few; those that would lie over another are left out. */
  draw(view, points, grid, colourOf, faded, marked) {
    const near = grid.inBox(view.box, NEAR) || [];
    near.sort((a, b) => (b === marked) - (a === marked)); // that one is not left out
    const side = near.length <= 16 ? 88 : near.length <= 60 ? 60 : 42;
    const kept = new Map();
    for (const i of near) {
      const [x, y] = view.toScreen(points[2 * i], points[2 * i + 1]);
      if ([...kept.values()].some(([ox, oy]) => Math.abs(ox - x) < side * 0.8 && Math.abs(oy - y) < side * 0.8)) continue;
      kept.set(i, [x, y]);
    }
    for (const [i, image] of this.shown) if (!kept.has(i)) { image.remove(); this.shown.delete(i); }
    for (const [i, [x, y]] of kept) {
      let image = this.shown.get(i);
      if (!image) {
        image = Object.assign(new Image(), { alt: "", className: "cs-mapthumb", draggable: false });
        image.addEventListener("error", () => { image.hidden = true; });
        image.src = this.source(i);
        this.layer.append(image);
        this.shown.set(i, image);
      }
      image.style.width = image.style.height = `${side}px`;
      image.style.borderColor = colourOf(i);
      image.classList.toggle("cs-faded", faded(i));
      image.classList.toggle("cs-marked", i === marked);
      place(image, x, y);
    }
  }
  get count() { return this.shown.size; }
}

export class Mark {
  constructor(layer) {
    this.element = Object.assign(document.createElement("span"), { className: "cs-mapmark", hidden: true });
    layer.append(this.element);
  }
  draw(view, at) {
    this.element.hidden = !at;
    if (at) place(this.element, ...view.toScreen(...at));
  }
}
