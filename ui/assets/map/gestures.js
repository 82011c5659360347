/* What pointers, the wheel and keys ask of the map, told to `does`: move, zoom, fit, draw, drawn, tap, hover. */
const STILL = 5; // pixels within which a press is a tap
const STEP = 60; // pixels of an arrow key
const KEYS = {
  ArrowLeft: ["move", STEP, 0], ArrowRight: ["move", -STEP, 0], ArrowUp: ["move", 0, STEP], ArrowDown: ["move", 0, -STEP],
  "+": ["zoom", 1.5], "=": ["zoom", 1.5], "-": ["zoom", 1 / 1.5], 0: ["fit"], Enter: ["tap"],
};

export const listen = (canvas, tool, does) => { // does.middle() is where keys act
  const pointers = new Map();
  let path = null; let far = false; let kind = "move";
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const pinch = () => {
    const [[ax, ay], [bx, by]] = [...pointers.values()];
    return { apart: Math.hypot(ax - bx, ay - by), middle: [(ax + bx) / 2, (ay + by) / 2] };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    pointers.set(event.pointerId, at(event));
    far = pointers.size > 1;
    kind = event.button === 1 ? "move" : event.shiftKey ? "box" : tool();
    path = pointers.size === 1 ? [at(event)] : null;
    does.hover(null);
    if (event.button === 1) event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const now = at(event);
    if (!before) { if (event.pointerType !== "touch") does.hover(now); return; }
    if (pointers.size === 2) {
      const old = pinch();
      pointers.set(event.pointerId, now);
      const found = pinch();
      does.zoom(found.apart / Math.max(1, old.apart), ...found.middle);
      does.move(found.middle[0] - old.middle[0], found.middle[1] - old.middle[1]);
      return;
    }
    pointers.set(event.pointerId, now);
    if (!path) return;
    const [x, y] = path[0];
    far ||= Math.hypot(now[0] - x, now[1] - y) >= STILL;
    if (!far) return;
    if (kind === "move") { does.move(now[0] - before[0], now[1] - before[1]); return; }
    path = kind === "box" ? [[x, y], [now[0], y], now, [x, now[1]]] : [...path, now];
    does.draw(path);
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    does.draw(null);
    if (event.type === "pointerup" && path) {
      if (!far) does.tap(at(event));
      else if (kind !== "move" && path.length > 2) does.drawn(path, event.shiftKey);
    }
    path = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => does.hover(null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 16 : 1) * (event.ctrlKey ? 4 : 1); // ctrl: a pinch on a pad
    does.zoom(Math.exp(-pixels / 450), ...at(event));
    does.hover(null);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const [name, ...values] = KEYS[event.key] || [];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (name === "tap") does.tap(does.middle());
    else { does[name](...values); does.hover(does.middle()); }
  });
};
