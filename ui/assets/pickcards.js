/* Selecting on the cards: checkbox, Shift and Ctrl with a click, long press, Space and Shift with arrows. */
(() => {
  const HOLD = 450; // ms
  const words = window.csPick;
  let anchor = null; // {link, place, to}: where a range begins and, for the keys, ends
  const list = () => cs.results.shown;
  const cardOf = (node) => node?.closest?.(".cs-justified > .cs-card");
  const placeOf = (node) => Number(node.dataset.place);
  const mark = (place, to = place) => { anchor = { link: list().link, place, to }; };
  const start = (place) => (anchor?.link === list().link ? anchor.place : place);

  /* The checkbox of a new card. */
  const box = (card, node) => {
    const input = Object.assign(document.createElement("input"), { type: "checkbox", className: "cs-pick", tabIndex: -1 });
    input.setAttribute("aria-label", cs.fill(words.one, { name: card.name }));
    input.checked = cs.picked.has(card.id, list()?.index);
    node.classList.toggle("cs-picked", input.checked);
    node.append(input);
  };
  const dress = () => {
    document.documentElement.classList.toggle("cs-picking", cs.picked.size > 0);
    for (const node of document.querySelectorAll(".cs-justified > .cs-card")) {
      const on = cs.picked.has(node.dataset.id, list()?.index);
      node.classList.toggle("cs-picked", on);
      node.querySelector(".cs-pick").checked = on;
    }
  };

  /* The ids from one place to another, asked of the server where cards were not loaded. */
  const between = async (from, to) => {
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const cards = list().cards.slice(low, high + 1);
    if (cards.length === high + 1 - low && !cards.includes(undefined)) return cards.map((card) => card.id);
    return asked(new URLSearchParams({ offset: low, count: high + 1 - low }));
  };
  const asked = async (fields) => {
    const params = new URLSearchParams(list().link);
    for (const [name, value] of fields) params.set(name, value);
    cs.grid.busy(true);
    try {
      const found = await cs.results.ask("ids", params);
      if (found.notice) { cs.grid.notice(found.notice, true); return []; }
      return found.ids;
    } catch (error) { if (!error.lost) cs.grid.notice(error.message); return []; } finally { cs.grid.busy(false); }
  };
  const range = async (from, to, on = true) => {
    const { index, link } = list();
    const ids = await between(from, to);
    if (list().link === link) cs.picked.set(index, ids, on ? "add" : "remove");
  };
  const all = async () => {
    const { index, link } = list();
    const ids = await asked(new URLSearchParams());
    if (list().link === link && ids.length) cs.picked.set(index, ids);
  };

  /* A finger that rests on a card selects it; then a tap selects as well. */
  let timer = 0, from = null, held = false, touch = false;
  const release = () => { clearTimeout(timer); timer = 0; };
  document.addEventListener("pointerdown", (event) => {
    touch = event.pointerType === "touch";
    held = false;
    const node = cardOf(event.target);
    if (!touch || !node || event.target.matches(".cs-pick")) return;
    from = event;
    timer = setTimeout(() => {
      held = true;
      navigator.vibrate?.(10);
      cs.picked.toggle(node.dataset.id);
      mark(placeOf(node));
    }, HOLD);
  });
  document.addEventListener("pointermove", (event) => { if (timer && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > 10) release(); });
  for (const type of ["pointerup", "pointercancel", "scroll"]) document.addEventListener(type, release, { passive: true });
  document.addEventListener("contextmenu", (event) => { if (touch && cardOf(event.target)) event.preventDefault(); });
  document.addEventListener("mousedown", (event) => { if (event.shiftKey && cardOf(event.target)) event.preventDefault(); });

  document.addEventListener("click", (event) => {
    const node = cardOf(event.target);
    if (!node || event.target.closest(".cs-thumb")) return;
    const own = event.target.matches(".cs-pick");
    const more = event.shiftKey || event.ctrlKey || event.metaKey || (touch && (held || cs.picked.size));
    if (!own && !more) return;
    event.stopPropagation();
    if (!own) event.preventDefault();
    if (held) { held = false; return; }
    const place = placeOf(node);
    const on = own ? event.target.checked : event.shiftKey || !cs.picked.has(node.dataset.id);
    if (event.shiftKey) range(start(place), place, on);
    else { cs.picked.toggle(node.dataset.id, on); mark(place); }
  }, true);

  const isText = (node) => node?.matches?.("input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]");
  const isFree = (event) => !event.defaultPrevented && !isText(event.target) && !document.querySelector("dialog[open]");
  const extend = async (node) => { // to where the grid has moved the focus
    const now = cardOf(document.activeElement);
    if (!now || node === now) return;
    if (anchor?.link !== list().link || anchor.to !== placeOf(node)) mark(placeOf(node));
    const { place, to } = anchor;
    const { index } = list();
    const [old, next] = [await between(place, to), await between(place, placeOf(now))];
    cs.picked.set(index, old, "remove");
    cs.picked.set(index, next, "add");
    mark(place, placeOf(now));
  };
  document.addEventListener("keydown", (event) => {
    const node = event.target.matches?.(".cs-open") && cardOf(event.target);
    if (node && event.key === " ") {
      event.preventDefault();
      if (event.repeat) return;
      cs.picked.toggle(node.dataset.id);
      mark(placeOf(node));
    } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a" && !event.shiftKey && isFree(event) && cs.results.isSearch() && list()?.cards) {
      event.preventDefault();
      all();
    }
  }, true);
  document.addEventListener("keyup", (event) => { if (event.key === " " && event.target.matches?.(".cs-open") && cardOf(event.target)) event.preventDefault(); }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isFree(event)) cs.picked.clear();
    const node = event.shiftKey && /^(Arrow|Home|End)/.test(event.key) && cardOf(event.target);
    if (node) extend(node);
  });

  window.addEventListener("cs:picked", dress);
  document.addEventListener("DOMContentLoaded", dress);
  Object.assign(cs.picked, { box, all });
})();
