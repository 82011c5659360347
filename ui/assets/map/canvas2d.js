/* Draws points as `WebglPoints` does where no graphics card takes part: pixel by pixel, which costs a
   fraction of what WebGL costs in software. */
const EDGE = 20; // pixels around the canvas, so that no point must be cut; more than a radius
const FULL = 225; // opacity of 256, as in WebGL
const FAINT = 33;
const MANY = 20_000; // points, of which a pixel of the canvas is as large as one of CSS
const ODD = 0xff00ff; // red and blue of a pixel, which are mixed at once
const GREEN = 0xff00;

export class CanvasPoints {
  static on(canvas) { return new CanvasPoints(canvas.getContext("2d", { willReadFrequently: true })); }
  constructor(pen) { this.pen = pen; this.data = {}; }
  /* Pixels of the canvas in one of CSS, at most. */
  get finest() { return this.data.places.length > 2 * MANY ? 1 : 2; }
  set(data) {
    Object.assign(this.data, data);
    if (data.palette) this.colours = new Uint32Array(data.palette.buffer);
  }
  /* An image of the canvas with its edge, in the color of what lies below it. */
  clear() {
    const width = this.pen.canvas.width + 2 * EDGE; const height = this.pen.canvas.height + 2 * EDGE;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const [red, green, blue] = getComputedStyle(this.pen.canvas.parentElement).backgroundColor.match(/\d+/g);
    this.pixels.fill((0xff000000 | (blue << 16) | (green << 8) | red) >>> 0);
  }
  /* The pixels of a point: where each is in the image, from its middle, and how much of it is covered, of 256. */
  disc(radius) {
    if (this.radius === radius && this.width === this.image.width) return;
    this.radius = radius; this.width = this.image.width;
    const steps = []; const covers = [];
    const far = Math.ceil(radius);
    for (let y = -far; y <= far; y++) {
      for (let x = -far; x <= far; x++) {
        const inner = Math.min(1, (radius - Math.hypot(x, y)) / 1.2);
        const cover = inner > 0 ? Math.round(256 * inner * inner * (3 - 2 * inner)) : 0;
        if (cover) { steps.push(y * this.width + x); covers.push(cover); }
      }
    }
    this.steps = Int32Array.from(steps); this.covers = Int32Array.from(covers);
  }
  draw(view, radius, ratio) {
    this.clear();
    this.disc(Math.min(EDGE - 1, radius * ratio));
    const { pixels, width, steps, covers, colours, data: { places, codes, chosen, order } } = this;
    const [left, bottom, right, top] = view.box;
    const spanX = view.spanX * ratio; const spanY = view.spanY * ratio;
    for (let n = 0; n < order.length; n++) {
      const i = order[n];
      const x = places[2 * i]; const y = places[2 * i + 1];
      if (x < left || x > right || y < bottom || y > top) continue;
      const middle = (Math.round((top - y) * spanY) + EDGE) * width + Math.round((x - left) * spanX) + EDGE;
      const opacity = chosen[i] ? FULL : FAINT;
      const colour = colours[codes[i]];
      for (let k = 0; k < steps.length; k++) {
        const over = (opacity * covers[k]) >> 8; const under = 256 - over;
        const at = middle + steps[k]; const below = pixels[at];
        const odd = (Math.imul(colour & ODD, over) + Math.imul(below & ODD, under)) >>> 8;
        const green = (Math.imul(colour & GREEN, over) + Math.imul(below & GREEN, under)) >>> 8;
        pixels[at] = 0xff000000 | (odd & ODD) | (green & GREEN);
      }
    }
    this.pen.putImageData(this.image, -EDGE, -EDGE);
  }
}
