/* The map on the screen: points, what lies over them, and what is chosen. */
import { CanvasPoints } from "./canvas2d.js";
import { listen } from "./gestures.js";
import { Grid } from "./grid.js";
import { Labels, Mark, Thumbnails } from "./overlay.js";
import { View } from "./view.js";
import { WebglPoints } from "./webgl.js";

const NEAR_SCALE = 12; // of a map that shows one item
const REACH = 14; // pixels from a point at which it is meant

/* Points in the order in which they are drawn: those that are not chosen first, high codes last. */
const drawingOrder = (codes, chosen, byCode) => {
  const bucket = (i) => (chosen[i] ? 256 : 0) + (byCode ? codes[i] : 0);
  const starts = new Uint32Array(513);
  for (let i = 0; i < codes.length; i++) starts[bucket(i) + 1]++;
  for (let b = 0; b < 512; b++) starts[b + 1] += starts[b];
  const order = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) order[starts[bucket(i)]++] = i;
  return order;
};

export class Plot {
  /* box: holds a canvas, `.cs-maplayer` and an `svg polygon`. does: tool(), tapped(i), hovered(i, at) and
     chosen(points, further), where further ones are added. */
  constructor(box, does) {
    this.box = box;
    box.csPlot = this;
    this.does = does;
    this.canvas = box.querySelector("canvas");
    this.shape = box.querySelector("polygon");
    this.view = new View();
    this.points = WebglPoints.on(this.canvas) || CanvasPoints.on(this.canvas);
    this.points.restored = () => this.refresh();
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    new MutationObserver(() => this.refresh()).observe(document.body, { attributeFilter: ["class"] }); // light or dark
    const seen = (change) => (...values) => { change(...values); this.refresh(); };
    listen(this.canvas, does.tool, {
      move: seen((x, y) => this.view.move(x, y)),
      zoom: seen((...how) => this.view.zoom(...how)),
      fit: seen(() => this.view.fit()),
      middle: () => this.view.middle,
      draw: (path) => this.shape.setAttribute("points", (path || []).map((at) => at.join(",")).join(" ")),
      drawn: (path, further) => does.chosen(this.grid.inShape(path.map((at) => this.view.toPlane(...at))), further),
      tap: (at) => { const i = this.at(at); if (i >= 0) does.tapped(i); },
      hover: (at) => does.hovered(at ? this.at(at) : -1, at),
    });
  }
  /* Show points: ids, places, codes, palette (colours as [r, g, b]), inside (1 for what the filter leaves), groups ({name, place, colour}), byCode,
     and source(i) of a small image. What was in sight and chosen stays where the points are the same. */
  show(data) {
    const same = this.ids === data.ids;
    Object.assign(this, data);
    this.count = this.ids.length;
    const layer = this.box.querySelector(".cs-maplayer");
    layer.replaceChildren();
    this.thumbnails = new Thumbnails(layer, this.source);
    this.labels = new Labels(layer, this.groups);
    this.mark = new Mark(layer);
    const palette = new Uint8Array(1024).fill(255);
    this.palette.forEach((colour, i) => palette.set(colour, 4 * i));
    this.points.set({ codes: this.codes, palette });
    if (!same) {
      this.grid = new Grid(this.places);
      this.points.set({ places: this.places });
      this.view.fit();
      this.marked = -1;
    }
    this.pick(same ? this.picked : []);
    this.resize();
  }
  /* The point at these pixels; -1 for none. */
  at([left, top]) {
    const reach = this.thumbnails.count ? 2 * REACH : REACH;
    const [x, y] = this.view.toPlane(left, top);
    return this.grid.nearest(x, y, reach / this.view.spanX, reach / this.view.spanY);
  }
  /* Show these as picked, and all others faintly; where none is, those that the filter leaves out. */
  pick(points) {
    this.picked = points;
    const chosen = points.length || !this.inside ? new Uint8Array(this.count).fill(points.length ? 0 : 1) : this.inside.slice();
    for (const i of points) chosen[i] = 1;
    this.chosen = chosen;
    this.points.set({ chosen, order: drawingOrder(this.codes, chosen, this.byCode) });
    this.refresh();
  }
  /* The points nearest to one, nearest first, itself among them. */
  around(i, most) {
    const [x, y] = this.placeOf(i);
    let found = [];
    for (let far = 0.004; far < 2 && found.length < most; far *= 2) found = this.grid.inBox([x - far, y - far, x + far, y + far]);
    const away = (j) => Math.hypot(this.places[2 * j] - x, this.places[2 * j + 1] - y);
    return found.sort((a, b) => away(a) - away(b)).slice(0, most);
  }
  placeOf(i) { return [this.places[2 * i], this.places[2 * i + 1]]; }
  inSight() { return this.grid.inBox(this.view.box); }
  /* Bring an item into the middle and mark it; whether it is on the map. */
  showItem(id) {
    const i = this.ids.indexOf(id);
    if (i < 0) return false;
    this.marked = i;
    this.view.show(...this.placeOf(i), Math.max(this.view.scale, NEAR_SCALE));
    this.refresh();
    return true;
  }
  zoom(factor) { this.view.zoom(factor); this.refresh(); }
  fit() { this.view.fit(); this.refresh(); }
  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !this.grid) return;
    this.ratio = Math.min(this.points.finest, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    const tools = this.box.querySelector(".cs-maptools");
    this.view.resize(width, height, tools.offsetTop < this.canvas.offsetTop ? 0 : tools.offsetTop + tools.offsetHeight);
    this.draw();
  }
  refresh() {
    this.asked ||= requestAnimationFrame(() => { this.asked = 0; this.draw(); });
  }
  draw() {
    if (!this.canvas.isConnected || !this.ratio || !this.grid) return;
    const base = this.count > 20000 ? 1.6 : this.count > 5000 ? 2.2 : this.count > 800 ? 3.2 : 5;
    const radius = Math.min(9, base * this.view.scale ** 0.35);
    this.points.draw(this.view, radius, this.ratio);
    const colourOf = (i) => `rgb(${this.palette[this.codes[i]].join(",")})`;
    this.thumbnails.draw(this.view, this.places, this.grid, colourOf, (i) => !this.chosen[i], this.marked);
    this.labels.draw(this.view);
    this.mark.draw(this.view, this.marked < 0 || this.thumbnails.shown.has(this.marked) ? null : this.placeOf(this.marked));
  }
}
