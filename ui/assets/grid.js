/* The cards of a search; only those near the window are in the document. */
(() => {
  const GAP = 6;
  const FAR = 1.2; // windows above and below what is seen
  const UP = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 11v9H3.5v-9zM7 11l4-8c1.7 0 2.6 1 2.3 2.8L12.8 9H19a2 2 0 0 1 2 2.4l-1.4 7A2 2 0 0 1 17.600 20H7"/></svg>';
  const NONE = '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/><path d="M5 17l4-5 3 3 3-3 4 5"/></svg>';
  let root, list = null, rows = null, words = {}, nodes = new Map(), line = null, width = 0;
  let size = Number(cs.store.get("cs-size")) || (innerWidth < 761 ? 110 : 200);

  const find = (selector) => root.querySelector(selector);
  const ul = () => find(".cs-justified");
  const gridTop = () => ul().getBoundingClientRect().top + scrollY;
  const height = () => {
    const known = rows.height;
    const left = list.more && list.total ? list.total - list.ratios.length : 0;
    return known + (left > 0 ? (left / Math.max(1, list.ratios.length)) * known : 0);
  };
  const compute = () => {
    width = ul().clientWidth;
    rows = cs.layout.rows(list.ratios, width, size, GAP, list.above);
    ul().style.height = `${height()}px`;
  };

  const marks = () => new URLSearchParams(list.link);
  const vote = (way, card, pressed) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `cs-thumb cs-${way}`;
    button.dataset.vote = way;
    button.setAttribute("aria-pressed", pressed);
    button.setAttribute("aria-label", cs.fill(words[`search.${way}`], { name: card.name }));
    button.innerHTML = UP;
    return button;
  };
  const noImage = () => Object.assign(document.createElement("span"), { className: "cs-nopicture", innerHTML: NONE });
  const make = (card) => {
    const node = document.createElement("li");
    node.className = "cs-card";
    node.dataset.id = card.id;
    const open = Object.assign(document.createElement("button"), { type: "button", className: "cs-open" });
    open.setAttribute("aria-label", cs.fill(words["search.open"], { name: card.name }));
    if (card.image) {
      const image = document.createElement("img");
      image.alt = "";
      image.decoding = "async";
      image.addEventListener("load", () => image.classList.add("cs-there"));
      image.addEventListener("error", () => image.replaceWith(noImage()));
      open.append(image);
    } else open.append(noImage());
    const under = Object.assign(document.createElement("div"), { className: "cs-under" });
    const label = Object.assign(document.createElement("span"), { className: "cs-name", title: card.name, textContent: card.name });
    under.append(label);
    node.append(open, under);
    cs.picked.box(card, node);
    return node;
  };
  /* What may change while a card stays: its place, its score, its marks. */
  const dress = (node, card, i, params) => {
    const under = node.querySelector(".cs-under");
    under.querySelectorAll(".cs-score, .cs-thumb").forEach((old) => old.remove());
    if (card.score !== undefined) {
      const score = Object.assign(document.createElement("span"), { className: `cs-score cs-${card.fit || "good"}`, title: card.told });
      score.append(Object.assign(document.createElement("span"), { className: "cs-figure", textContent: card.score.toFixed(2) }));
      if (card.fit) score.append(Object.assign(document.createElement("span"), { className: "cs-fit", textContent: words[`fit_${card.fit}`] }));
      under.append(score);
    }
    for (const way of list.asked ? ["up", "down"] : ["up"]) {
      under.append(vote(way, card, params.getAll(way).includes(String(card.id))));
    }
  };
  const source = (card, boxWidth) => {
    const kind = boxWidth * Math.min(devicePixelRatio, 2) > 700 ? "preview" : "thumbnail";
    return `media/${encodeURIComponent(list.index)}/${card.id}/${kind}${card.version ? `?v=${card.version}` : ""}`;
  };
  const put = (node, i, left, row, boxWidth, card) => {
    node.style.transform = `translate(${left}px, ${row.top}px)`;
    node.style.width = `${boxWidth}px`;
    node.style.height = `${row.height}px`;
    node.setAttribute("aria-posinset", i + 1);
    node.setAttribute("aria-setsize", list.total ?? -1);
    node.dataset.place = i;
    const image = node.querySelector("img");
    if (image && card && !image.src.endsWith(source(card, boxWidth)) && !image.src.includes("/preview")) {
      image.src = source(card, boxWidth);
    }
  };

  const render = () => {
    if (!rows || !root.offsetParent) return;
    if (ul().clientWidth !== width) compute();
    const top = scrollY - gridTop();
    const from = cs.layout.rowAt(rows.found, top - FAR * innerHeight);
    const visible = [];
    for (let r = from; r < rows.found.length && rows.found[r].top < top + (1 + FAR) * innerHeight; r++) visible.push(rows.found[r]);
    const focused = document.activeElement?.closest?.(".cs-justified > .cs-card");
    if (focused) {
      const row = cs.layout.rowOf(rows.found, Math.min(Number(focused.dataset.place), list.ratios.length - 1));
      if (row && !visible.includes(row)) visible.push(row);
      visible.sort((one, other) => one.top - other.top);
    }
    const params = marks();
    const used = new Map();
    const order = [];
    let firstPlace = Infinity, lastPlace = 0;
    for (const row of visible) {
      let left = 0;
      for (let i = row.first; i < row.end; i++) {
        const boxWidth = (list.ratios[i] / 100) * row.height;
        const card = list.cards[i];
        const key = card ? `${list.index}:${card.id}:${card.version}` : `empty:${i}`;
        let node = nodes.get(key);
        if (!node) {
          node = card ? make(card) : Object.assign(document.createElement("li"), { className: "cs-emptycard" });
          node.list = null;
        }
        if (card && node.list !== list) { dress(node, card, i, params); node.list = list; }
        put(node, i, left, row, boxWidth, card);
        used.set(key, node);
        order.push(node);
        left += boxWidth + GAP;
        firstPlace = Math.min(firstPlace, i);
        lastPlace = Math.max(lastPlace, i + 1);
      }
    }
    for (const [key, node] of nodes) if (used.get(key) !== node) node.remove();
    nodes = used;
    let cursor = ul().firstChild;
    for (const node of order) {
      if (node === cursor) cursor = cursor.nextSibling;
      else ul().insertBefore(node, cursor);
    }
    drawLine();
    if (order.length) need(firstPlace, lastPlace);
  };
  const drawLine = () => {
    line?.remove();
    if (rows.line === null) return;
    line = Object.assign(document.createElement("li"), { className: "cs-line", textContent: words[list.weak ? "nothing" : "below"] });
    line.style.transform = `translateY(${rows.line}px)`;
    ul().append(line);
  };

  let wanted = 0;
  const need = (from, to) => {
    clearTimeout(wanted);
    const mine = list;
    wanted = setTimeout(() => {
      cs.results.load(mine, from, to, null, true).then(() => { if (mine === list) render(); });
      if (mine.more && to + 3 * cs.results.PAGE > mine.ratios.length) {
        cs.results.grow(mine).then((any) => { if (any && mine === list) relayout(); }, () => {});
      }
    }, 60);
  };

  /* The first image in sight, and how far it is from the window's top. */
  const anchor = () => {
    if (held) return held;
    if (!rows?.found.length) return { i: 0, dy: 0 };
    const y = scrollY - gridTop();
    if (scrollY < 4) return { i: 0, dy: null };
    const row = rows.found[Math.min(cs.layout.rowAt(rows.found, y), rows.found.length - 1)];
    list.seen = row.first;
    return { i: row.first, dy: y - row.top };
  };
  const settle = (kept) => {
    if (!rows.found.length) return;
    if (kept.dy === null) { scrollTo(0, 0); return; }
    const row = cs.layout.rowOf(rows.found, Math.min(kept.i, list.ratios.length - 1));
    scrollTo(0, gridTop() + row.top + kept.dy);
  };
  /* While the page is still being laid out, what was in sight comes back, unless the reader moves. */
  let held = null;
  const hold = (kept) => {
    const began = performance.now();
    let last = began;
    held = kept;
    const stop = () => { if (held === kept) held = null; };
    for (const type of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(type, stop, { once: true, passive: true });
    const look = () => {
      const now = performance.now();
      if (held !== kept || !rows || now - began > 6000 || now - last > 1000) { stop(); return; }
      const row = rows.found.length && cs.layout.rowOf(rows.found, Math.min(kept.i, list.ratios.length - 1));
      const wanted = !row || kept.dy === null ? 0 : gridTop() + row.top + kept.dy;
      if (!root.offsetParent || Math.abs(scrollY - wanted) > 1) { last = now; scrollTo(0, wanted); }
      requestAnimationFrame(look);
    };
    look();
  };
  const relayout = () => {
    if (!list?.ratios) return;
    const kept = anchor();
    compute();
    if (kept.dy !== null) settle(kept);
    render();
  };

  const around = (next) => {
    find("#cs-chips").innerHTML = next.chips;
    cs.search.dressChips(find("#cs-chips"));
    find("#cs-summary").innerHTML = next.summary ?? "";
    const slider = document.activeElement?.id === "cs-least" ? document.activeElement.value : null;
    find("#cs-relevance").innerHTML = next.relevance ?? "";
    if (slider !== null && find("#cs-least")) { // it may be on its way further
      find("#cs-least").value = slider;
      find("#cs-least").focus({ preventScroll: true });
    }
    find("#cs-share").innerHTML = next.share ?? "";
    if (new URLSearchParams(next.link).get("min")) cs.search.panel(find("[data-panel=relevance]"), true);
    for (const panel of ["relevance", "share"]) find(`[data-panel=${panel}]`).disabled = !next[panel];
  };
  const show = (next, how) => {
    const focus = document.activeElement?.closest?.(".cs-justified .cs-card");
    const before = focus && { id: focus.dataset.id, place: Number(focus.dataset.place), vote: document.activeElement.dataset.vote };
    const y = scrollY;
    notice("");
    around(next);
    list = next;
    ul().dataset.link = next.link;
    if (next.told) notice(next.told, true);
    if (!next.cards) {
      for (const node of nodes.values()) node.remove();
      nodes = new Map();
      line?.remove();
      rows = null;
      ul().style.height = "0";
      notice(next.notice, true);
      return;
    }
    nodes.forEach((node) => { node.list = null; });
    compute();
    held = null;
    if (how.stay) scrollTo(0, y);
    else if (how.keep) hold(how.keep);
    else if (!how.still) scrollTo(0, 0);
    find(".cs-totop").hidden = !(how.stay && scrollY > innerHeight);
    render();
    if (before && document.activeElement === document.body) {
      const node = find(`.cs-card[data-id="${before.id}"]`) || find(`.cs-card[data-place="${before.place}"]`);
      (node?.querySelector(before.vote ? `[data-vote=${before.vote}]` : ".cs-open") ?? node?.querySelector(".cs-open"))?.focus({ preventScroll: true });
    }
  };

  const notice = (text, isHtml) => {
    const box = find(".cs-notice");
    if (isHtml) box.innerHTML = text;
    else if (text) box.replaceChildren(Object.assign(document.createElement("div"), { className: "cs-message cs-error", role: "alert", textContent: text }));
    else box.replaceChildren();
    const message = box.querySelector(".cs-message");
    if (message) {
      const close = Object.assign(document.createElement("button"), { type: "button", className: "cs-dismiss", textContent: "\u00d7" });
      close.setAttribute("aria-label", words["close"]);
      close.addEventListener("click", () => box.replaceChildren());
      message.append(close);
    }
    cs.waits(box, () => cs.results.again());
  };
  let late = 0;
  const busy = (on) => {
    if (!root) return; // asked for before it is there
    clearTimeout(late);
    if (on) late = setTimeout(() => root.classList.add("cs-asking"), 150);
    else root.classList.remove("cs-asking");
    root.setAttribute("aria-busy", on);
  };

  /* How much of the window's top lies under what is stuck there. */
  const covered = () => Math.max(0, ...[...document.querySelectorAll("#cs-header, #cs-tabs .tab-wrapper")]
    .map((part) => part.getBoundingClientRect()).filter((box) => box.top < innerHeight / 2).map((box) => box.bottom));
  /* The first image that is in sight. */
  const seen = () => (rows?.found.length ? rows.found[Math.min(cs.layout.rowAt(rows.found, scrollY + covered() - gridTop()), rows.found.length - 1)].first : 0);
  /* Scroll to a card if it is not in sight, and give its element. */
  const reveal = (i) => {
    const row = rows && cs.layout.rowOf(rows.found, i);
    if (!row) return null;
    const top = row.top + gridTop();
    if (top < scrollY + covered()) scrollTo(0, top - covered() - GAP);
    else if (top + row.height > scrollY + innerHeight) scrollTo(0, top + row.height - innerHeight + GAP);
    render();
    return find(`[data-place="${i}"]`);
  };
  const move = (event) => {
    const node = event.target.closest(".cs-card");
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: "down", ArrowUp: "up", Home: "home", End: "end" };
    if (!node || !(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const i = Number(node.dataset.place);
    let to = i + steps[event.key];
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = list.ratios.length - 1;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const row = cs.layout.rowOf(rows.found, i);
      const other = rows.found[rows.found.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
      if (!other) return;
      to = Math.min(other.end - 1, other.first + Math.round(((i - row.first) / (row.end - row.first)) * (other.end - other.first)));
    }
    if (to < 0 || to >= list.ratios.length) return;
    reveal(to)?.querySelector(".cs-open")?.focus({ preventScroll: true });
  };

  const numbers = (on) => {
    root.classList.toggle("cs-numbers", on);
    find("[data-numbers]").setAttribute("aria-pressed", on);
  };
  const mount = (element) => {
    root = element.querySelector(".cs-results");
    words = JSON.parse(root.dataset.words);
    const slider = find(".cs-size input");
    slider.value = size;
    slider.addEventListener("input", (event) => {
      event.stopPropagation();
      size = Number(slider.value);
      cs.store.set("cs-size", size);
      relayout();
    });
    numbers(cs.store.get("cs-numbers") === "1");
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const node = button.closest(".cs-card");
      if (button.dataset.panel === "filters") cs.facets.toggle();
      else if (button.dataset.panel) cs.search.panel(button);
      else if (button.matches("[data-numbers]")) {
        const on = !root.classList.contains("cs-numbers");
        cs.store.set("cs-numbers", on ? "1" : "0");
        numbers(on);
      } else if (button.matches(".cs-totop")) { scrollTo(0, 0); button.hidden = true; }
      else if (button.matches("[data-again]")) cs.results.again();
      else if (button.dataset.vote) cs.search.vote(node.dataset.id, button.dataset.vote);
      else if (button.matches(".cs-open")) cs.view.open(Number(node.dataset.place));
    });
    root.addEventListener("keydown", move);
    cs.search.mount(root);
    cs.albums.mount(find(".cs-tools"));
    cs.view.mount(words);
    cs.facets.mount(element, words);
    cs.timeline.mount(element, words);
    let frame = 0, rest = 0;
    addEventListener("scroll", () => {
      frame ||= requestAnimationFrame(() => { frame = 0; render(); });
      clearTimeout(rest);
      rest = setTimeout(cs.results.remember, 200);
    }, { passive: true });
    new ResizeObserver(() => { if (rows && root.offsetParent && ul().clientWidth !== width) relayout(); else render(); }).observe(ul());
    cs.results.start();
  };

  /* Bring an image to the top of the window. */
  const scrollToPlace = (i) => { held = null; settle({ i, dy: -covered() - GAP }); render(); };
  const visible = () => !!root?.offsetParent;

  cs.grid = { mount, visible, show, notice, busy, around, anchor, seen, relayout, render, reveal, scrollToPlace };
})();
