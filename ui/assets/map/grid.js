/* Points in cells, so that those near a place or within a shape are found without looking at all. */
const SIDE = 128; // cells
const cell = (value) => Math.min(SIDE - 1, Math.max(0, Math.floor(value * SIDE)));

export class Grid {
  constructor(places) {
    this.places = places;
    this.count = places.length / 2;
    const cells = new Uint16Array(this.count);
    this.starts = new Uint32Array(SIDE * SIDE + 1);
    for (let i = 0; i < this.count; i++) {
      cells[i] = cell(places[2 * i + 1]) * SIDE + cell(places[2 * i]);
      this.starts[cells[i] + 1]++;
    }
    for (let c = 0; c < SIDE * SIDE; c++) this.starts[c + 1] += this.starts[c];
    this.members = new Uint32Array(this.count);
    const next = this.starts.slice();
    for (let i = 0; i < this.count; i++) this.members[next[cells[i]]++] = i;
  }
  /* Calls `each` with every point in a box; it may stop by returning false. */
  visit([left, bottom, right, top], each) {
    for (let row = cell(bottom); row <= cell(top); row++) {
      const first = this.starts[row * SIDE + cell(left)];
      const last = this.starts[row * SIDE + cell(right) + 1];
      for (let at = first; at < last; at++) {
        const i = this.members[at];
        const x = this.places[2 * i]; const y = this.places[2 * i + 1];
        if (x >= left && x <= right && y >= bottom && y <= top && each(i, x, y) === false) return;
      }
    }
  }
  /* The points in a box, ascending; null where there are more than `most`. */
  inBox(box, most = Infinity) {
    const found = [];
    this.visit(box, (i) => { found.push(i); return found.length <= most; });
    return found.length > most ? null : found.sort((a, b) => a - b);
  }
  /* The points within a polygon of [x, y], ascending. */
  inShape(shape) {
    const xs = shape.map(([x]) => x); const ys = shape.map(([, y]) => y);
    const found = [];
    this.visit([Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)], (i, x, y) => {
      let inside = false;
      for (let a = 0, b = shape.length - 1; a < shape.length; b = a++) {
        const [ax, ay] = shape[a]; const [bx, by] = shape[b];
        if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      }
      if (inside) found.push(i);
    });
    return found.sort((a, b) => a - b);
  }
  /* The point nearest to a place, at most so far away in x and in y; -1 for none. */
  nearest(x, y, farX, farY) {
    let best = -1; let least = 1;
    this.visit([x - farX, y - farY, x + farX, y + farY], (i, px, py) => {
      const away = ((px - x) / farX) ** 2 + ((py - y) / farY) ** 2;
      if (away < least) { least = away; best = i; }
    });
    return best;
  }
}
