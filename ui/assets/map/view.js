/* Which part of the map is in sight: its square [0, 1] x [0, 1], moved and enlarged. */
const MARGIN = 34; // pixels around the whole map
const FARTHEST = 0.8;
const NEAREST = 400;
const within = (value, low, high) => Math.min(Math.max(value, low), high);

export class View {
  constructor() {
    this.width = 1; this.height = 1; this.top = 0;
    this.fit();
  }
  fit() { this.x = 0.5; this.y = 0.5; this.scale = 1; }
  /* top: pixels at the top that tools lie over. */
  resize(width, height, top) { this.width = width; this.height = height; this.top = top; }
  get middle() { return [this.width / 2, (this.top + this.height) / 2]; }
  /* Pixels that the whole map spans. */
  get spanX() { return Math.max(1, this.width - 2 * MARGIN) * this.scale; }
  get spanY() { return Math.max(1, this.height - this.top - 2 * MARGIN) * this.scale; }
  toScreen(x, y) {
    return [this.width / 2 + (x - this.x) * this.spanX, (this.top + this.height) / 2 - (y - this.y) * this.spanY];
  }
  toPlane(left, top) {
    return [this.x + (left - this.width / 2) / this.spanX, this.y - (top - (this.top + this.height) / 2) / this.spanY];
  }
  /* Enlarge by a factor; the point below these pixels stays where it is. */
  zoom(factor, left = this.middle[0], top = this.middle[1]) {
    const [x, y] = this.toPlane(left, top);
    this.scale = within(this.scale * factor, FARTHEST, NEAREST);
    const [newX, newY] = this.toPlane(left, top);
    this.show(this.x + x - newX, this.y + y - newY);
  }
  move(right, down) { this.show(this.x - right / this.spanX, this.y + down / this.spanY); }
  show(x, y, scale = this.scale) {
    this.x = within(x, 0, 1); this.y = within(y, 0, 1); this.scale = within(scale, FARTHEST, NEAREST);
  }
  /* The lowest and highest x and y in sight. */
  get box() {
    const [left, top] = this.toPlane(0, 0);
    const [right, bottom] = this.toPlane(this.width, this.height);
    return [left, bottom, right, top];
  }
}
