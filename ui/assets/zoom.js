/* Zoom and pan of one image, or of several at once: wheel, pinch, double click, drag; a swipe goes on. */
(() => {
  /* frames: [stage, pane] of each image; all of them move together. */
  const zooming = (frames, does) => {
    let scale = 1, x = 0, y = 0, drag = null, pinch = null;
    const points = new Map();
    const wide = (pane) => parseFloat(pane.style.getPropertyValue("--wide")) || 1600;
    const largest = (of) => Math.max(...frames.map(([, pane]) => of(pane) / Math.max(1, pane.offsetWidth)));
    const room = (side) => Math.max(...frames.map(([stage, pane]) => Math.max(0, (pane[`offset${side}`] * scale - stage[`client${side}`]) / 2)));
    const still = () => frames.forEach(([, pane]) => { pane.style.transform = ""; });
    const apply = () => {
      const [roomX, roomY] = [room("Width"), room("Height")];
      x = Math.min(roomX, Math.max(-roomX, x));
      y = Math.min(roomY, Math.max(-roomY, y));
      for (const [stage, pane] of frames) {
        pane.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
        stage.classList.toggle("cs-zoomed", scale > 1);
      }
      if (scale > 1.2) does.full();
    };
    const by = (factor, cx = 0, cy = 0) => {
      const next = Math.min(Math.max(2, largest(wide)), Math.max(1, scale * factor));
      x = cx - (cx - x) * (next / scale);
      y = cy - (cy - y) * (next / scale);
      scale = next;
      apply();
    };
    const reset = () => {
      scale = 1;
      x = y = 0;
      still();
      for (const [stage] of frames) stage.classList.remove("cs-zoomed");
    };
    /* To 100 percent (one pixel of the image on one of the screen), or back. */
    const toggle = (cx = 0, cy = 0) => {
      if (scale > 1) reset();
      else by(Math.max(1.5, largest(wide) / devicePixelRatio), cx, cy);
    };
    const distance = () => {
      const [one, other] = [...points.values()];
      return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    };
    const mount = (stage) => {
      const middle = (event) => {
        const box = stage.getBoundingClientRect();
        return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
      };
      stage.addEventListener("wheel", (event) => {
        event.preventDefault();
        by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), ...middle(event));
      }, { passive: false });
      stage.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) toggle(...middle(event)); });
      stage.addEventListener("pointerdown", (event) => {
        if (event.target.closest("button") || cs.region.active()) return;
        points.set(event.pointerId, event);
        stage.setPointerCapture(event.pointerId);
        if (points.size === 2) { pinch = { from: distance(), scale }; drag = null; }
        else drag = { x: event.clientX, y: event.clientY, px: x, py: y, type: event.pointerType };
      });
      stage.addEventListener("pointermove", (event) => {
        if (!points.has(event.pointerId)) return;
        points.set(event.pointerId, event);
        if (pinch && points.size === 2) by((pinch.scale * distance()) / pinch.from / scale);
        else if (drag && scale > 1) {
          x = drag.px + event.clientX - drag.x;
          y = drag.py + event.clientY - drag.y;
          apply();
        } else if (drag && drag.type !== "mouse" && does.step) frames[0][1].style.transform = `translateX(${event.clientX - drag.x}px)`;
      });
      const up = (event) => {
        if (!points.delete(event.pointerId)) return;
        if (pinch) { if (!points.size) pinch = null; return; }
        if (drag && scale === 1 && event.type === "pointerup" && drag.type !== "mouse" && does.step) {
          const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
          still();
          if (Math.abs(dx) > 50 && Math.abs(dx) > Math.abs(dy)) does.step(dx < 0 ? 1 : -1);
          else if (dy > 90) does.close();
        } else if (scale === 1) still();
        drag = null;
      };
      stage.addEventListener("pointerup", up);
      stage.addEventListener("pointercancel", up);
    };
    for (const [stage] of frames) mount(stage);
    return { by, reset, toggle };
  };
  /* That of the large view. */
  cs.zoom = {
    by() {}, reset() {}, toggle() {},
    mount: (stage, pane, does) => Object.assign(cs.zoom, zooming([[stage, pane]], does)),
  };
  cs.zooming = zooming;
})();
