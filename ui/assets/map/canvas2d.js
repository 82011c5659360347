/* Draws points as `WebglPoints` does, in browsers without it: more slowly, and only those in sight. */
const ROUND = 4000; // points in sight that are drawn as circles; of more, as squares

export class CanvasPoints {
  static on(canvas) { return new CanvasPoints(canvas.getContext("2d")); }
  constructor(pen) { this.pen = pen; this.data = {}; }
  set(data) {
    Object.assign(this.data, data);
    if (data.palette) {
      this.styles = Array.from({ length: 256 }, (_, i) => `rgb(${data.palette.slice(4 * i, 4 * i + 3).join(",")})`);
    }
  }
  draw(view, radius, ratio) {
    const { pen, data: { places, codes, chosen, order } } = this;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, view.width, view.height);
    const [left, bottom, right, top] = view.box;
    const round = order.length <= ROUND;
    for (const i of order) {
      if (places[2 * i] < left || places[2 * i] > right || places[2 * i + 1] < bottom || places[2 * i + 1] > top) continue;
      const [x, y] = view.toScreen(places[2 * i], places[2 * i + 1]);
      pen.globalAlpha = chosen[i] ? 0.88 : 0.13;
      pen.fillStyle = this.styles[codes[i]];
      if (round) { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.fill(); }
      else pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    }
  }
}
