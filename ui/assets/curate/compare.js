/* Two copies held against each other: side by side, by a slider, by turns, and by what differs. */
import { about, button, make, source } from "./groups.js";

const WAYS = ["side", "slider", "blink", "difference"];
const BLINK_MS = 900;
let dialog = null, now = null, zoom = 1, timer = 0, way = "side", overlaid = null;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const find = (selector) => dialog.querySelector(selector);

const build = (words) => {
  dialog = make("dialog", "cs-comparison");
  dialog.setAttribute("aria-label", words.compare_title);
  const bar = make("div", "cs-comparebar");
  const ways = make("div", "cs-looks");
  ways.setAttribute("role", "group");
  for (const one of WAYS) {
    const node = Object.assign(make("button", "cs-look", words[one]), { type: "button" });
    node.dataset.way = one;
    ways.append(node);
  }
  const close = Object.assign(make("button", "cs-closer", "\u00d7"), { type: "button" });
  close.dataset.close = "";
  close.setAttribute("aria-label", words.close);
  bar.append(button("\u2039", { step: -1 }), make("span", "cs-figure cs-which"), button("\u203a", { step: 1 }), ways, close);
  bar.querySelector("[data-step='-1']").setAttribute("aria-label", words.previous);
  bar.querySelector("[data-step='1']").setAttribute("aria-label", words.next);
  const told = make("p", "cs-told");
  told.setAttribute("role", "status");
  dialog.append(bar, make("div", "cs-panes"), told, make("div", "cs-pairabout"));
  document.querySelector(".gradio-container .contain").append(dialog);
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); history.back(); });
  dialog.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (!pressed) return;
    if ("close" in pressed.dataset) history.back();
    else if (pressed.dataset.step) step(Number(pressed.dataset.step));
    else if (pressed.dataset.way) show(pressed.dataset.way);
    else if ("pause" in pressed.dataset) blink(!timer);
  });
  dialog.addEventListener("change", (event) => {
    event.stopPropagation();
    if (event.target.matches(".cs-pickbox input")) now.pick([event.target.dataset.id], event.target.checked);
  });
  dialog.addEventListener("input", (event) => {
    event.stopPropagation();
    if (event.target.matches(".cs-slide input")) find(".cs-over").style.setProperty("--cut", `${event.target.value}%`);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=range]")) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "+" || event.key === "=") zoomBy(1.4);
    else if (event.key === "-") zoomBy(1 / 1.4);
    else return;
    event.preventDefault();
  });
  /* Both images are enlarged alike, at the place below the pointer. */
  const panes = find(".cs-panes");
  panes.addEventListener("wheel", (event) => { event.preventDefault(); point(event); zoomBy(Math.exp(-event.deltaY * 0.002)); }, { passive: false });
  panes.addEventListener("pointermove", (event) => { if (zoom > 1) point(event); });
  panes.addEventListener("dblclick", (event) => { point(event); zoomBy(zoom > 1 ? 0 : 3); });
  window.addEventListener("popstate", () => { if (dialog.open && !history.state?.compare) hide(); });
};
const point = (event) => {
  const pane = event.target.closest(".cs-pane2");
  if (!pane) return;
  const edge = pane.getBoundingClientRect();
  find(".cs-panes").style.setProperty("--x", `${(100 * (event.clientX - edge.left)) / edge.width}%`);
  find(".cs-panes").style.setProperty("--y", `${(100 * (event.clientY - edge.top)) / edge.height}%`);
};
const zoomBy = (factor) => {
  zoom = Math.min(8, Math.max(1, zoom * factor));
  find(".cs-panes").style.setProperty("--zoom", zoom);
  if (zoom > 1.5 && way === "side") {
    for (const image of dialog.querySelectorAll(".cs-pane2 img[data-original]")) {
      const large = new Image();
      large.onload = () => { image.src = large.src; };
      large.src = image.dataset.original;
      delete image.dataset.original;
    }
  }
};
const hide = () => {
  clearInterval(timer);
  timer = 0;
  dialog.close();
  now.before?.focus?.({ preventScroll: true });
};

const pane = (first, ...others) => {
  const node = make("div", "cs-pane2");
  first.addEventListener("load", () => node.style.setProperty("--ratio", first.naturalWidth / first.naturalHeight));
  node.append(first, ...others);
  return node;
};
const picture = (src, className, alt = "") => Object.assign(new Image(), { src, alt, className, draggable: false });
const stacked = () => pane(picture(overlaid.one, "", now.cards[0].name), picture(overlaid.other, "cs-over", now.cards[now.at].name));
const blink = (on) => {
  clearInterval(timer);
  timer = 0;
  const over = find(".cs-over"), pause = find("[data-pause]");
  if (!over || !pause) return;
  pause.textContent = on ? now.words.pause : now.words.play;
  if (on) timer = setInterval(() => over.classList.toggle("cs-hiddenpart"), BLINK_MS);
};
const draw = () => {
  const panes = find(".cs-panes");
  blink(false);
  panes.className = `cs-panes cs-by-${way}`;
  find(".cs-told").textContent = overlaid?.told ?? "";
  for (const one of dialog.querySelectorAll("[data-way]")) one.setAttribute("aria-pressed", one.dataset.way === way);
  if (way === "side") {
    panes.classList.toggle("cs-tall", now.cards[now.at].width < now.cards[now.at].height);
    panes.replaceChildren(...[now.cards[0], now.cards[now.at]].map((card) => {
      const image = picture(source(now.index, card, "preview"), "", card.name);
      image.dataset.original = `page/items/${encodeURIComponent(now.index)}/${card.id}/file`;
      return pane(image);
    }));
  } else if (!overlaid) panes.replaceChildren(Object.assign(make("div", "cs-spinner"), { ariaHidden: "true" }));
  else if (way === "difference") panes.replaceChildren(pane(picture(overlaid.difference, "", overlaid.told)));
  else if (way === "slider") {
    const label = make("label", "cs-slide");
    const slide = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 50 });
    slide.setAttribute("aria-label", now.words.slide);
    label.append(slide);
    const both = stacked();
    both.append(label);
    panes.replaceChildren(both);
  } else {
    panes.replaceChildren(stacked(), button(now.words.pause, { pause: "" }));
    blink(!still.matches);
  }
};
const show = (wanted) => { way = wanted; draw(); };

const load = async () => {
  const mine = now, at = now.at;
  overlaid = null;
  zoom = 1;
  find(".cs-panes").style.setProperty("--zoom", 1);
  const pair = [now.cards[0], now.cards[at]];
  find(".cs-which").textContent = `${at} / ${now.cards.length - 1}`;
  find(".cs-pairabout").replaceChildren(...pair.map((card) => {
    const box = about(card, now.words);
    const label = make("label", "cs-pickbox");
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: now.isPicked(card.id) });
    input.dataset.id = card.id;
    label.append(input, make("span", "", cs.fill(now.words.mark, { name: card.file })));
    box.prepend(label);
    return box;
  }));
  for (const one of dialog.querySelectorAll("[data-step]")) one.disabled = now.cards.length < 3;
  draw();
  try {
    const found = await now.ask("/difference", { one: pair[0].id, other: pair[1].id });
    if (mine !== now || at !== now.at) return;
    overlaid = found;
    if (way === "side") find(".cs-told").textContent = found.told;
    else draw();
  } catch (error) {
    if (mine === now && at === now.at && !error.lost) { way = "side"; draw(); find(".cs-told").textContent = error.message; }
  }
};
const step = (by) => {
  const last = now.cards.length - 1;
  if (last < 2) return;
  now.at = ((now.at - 1 + by + last) % last) + 1;
  load();
};

/* The first of some cards and another one. */
export const compare = (cards, at, index, words, tools) => {
  if (!dialog) build(words);
  now = { cards, at, index, words, before: document.activeElement, ...tools };
  history.pushState({ ...history.state, compare: true }, "");
  dialog.showModal();
  load();
};
