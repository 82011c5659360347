/* A box on the large image, drawn with the pointer or moved with the keys, to search by that part. */
(() => {
  let stage, bar, words, search, pane = null, box = null, node = null, from = null;
  const active = () => !!node;
  const place = () => {
    const [left, top, width, height] = box.map((share) => `${share * 100}%`);
    Object.assign(node.style, { left, top, width, height });
  };
  const stop = () => {
    node?.remove();
    node = pane = from = null;
    if (bar) bar.hidden = true;
    stage?.classList.remove("cs-drawing");
  };
  const start = (thePane) => {
    cs.zoom.reset();
    pane = thePane;
    box = [0.25, 0.25, 0.5, 0.5];
    node = document.createElement("div");
    node.className = "cs-region";
    node.tabIndex = 0;
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", words.region_help);
    pane.append(node);
    place();
    bar.hidden = false;
    stage.classList.add("cs-drawing");
    node.focus();
  };
  const at = (event) => {
    const edge = pane.getBoundingClientRect();
    return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height].map((share) => Math.min(1, Math.max(0, share)));
  };
  const mount = (theStage, theBar, texts, callback) => {
    [stage, bar, words, search] = [theStage, theBar, texts, callback];
    bar.innerHTML = `<span>${words.region_help}</span><button type="button" class="cs-button cs-primary" data-region>${words.region_go}</button><button type="button" class="cs-button" data-noregion>${words.region_stop}</button>`;
    bar.addEventListener("click", (event) => {
      event.stopPropagation();
      if (event.target.closest("[data-region]")) search(box);
      else if (event.target.closest("[data-noregion]")) { stop(); stage.focus(); }
    });
    stage.addEventListener("pointerdown", (event) => {
      if (!active() || event.target.closest("button")) return;
      event.preventDefault();
      from = at(event);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
      place();
    });
    for (const type of ["pointerup", "pointercancel"]) stage.addEventListener(type, () => { from = null; });
    stage.addEventListener("keydown", (event) => {
      if (!active()) return;
      const moves = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02] };
      if (event.key === "Escape") { stop(); stage.focus(); }
      else if (event.key === "Enter" && event.target === node) search(box);
      else if (moves[event.key]) {
        const [dx, dy] = moves[event.key];
        if (event.shiftKey) { box[2] += dx; box[3] += dy; } else { box[0] += dx; box[1] += dy; }
        box[2] = Math.min(1, Math.max(0.05, box[2]));
        box[3] = Math.min(1, Math.max(0.05, box[3]));
        box[0] = Math.min(1 - box[2], Math.max(0, box[0]));
        box[1] = Math.min(1 - box[3], Math.max(0, box[1]));
        place();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
  };
  cs.region = { mount, active, stop, toggle: (thePane) => (active() ? stop() : start(thePane)) };
})();
