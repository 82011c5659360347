/* The Map tab: a plot with its tools, and the list of groups beside it. */
import { hoverCard } from "./hover.js";
import { Plot } from "./plot.js";

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const bits = (text, count) => {
  const packed = bytes(text);
  return Uint8Array.from({ length: count }, (_, i) => (packed[i >> 3] >> (7 - (i & 7))) & 1);
};
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
/* 256 colours between those of a ramp. */
const ramp = (colours) => Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (colours.length - 1);
  const low = Math.min(colours.length - 2, Math.floor(at));
  return colours[low].map((c, band) => Math.round(c + (colours[low + 1][band] - c) * (at - low)));
});

let plot = null; // one for as long as the page is open, so that what is in sight stays
let loaded = { url: "" };
let current = null;

const load = async (url) => {
  if (loaded.url === url) return true;
  const answer = await fetch(new URL(url, document.baseURI));
  if (!answer.ok) return false;
  const buffer = await answer.arrayBuffer();
  const count = buffer.byteLength / 16;
  loaded = { url, ids: new Float64Array(buffer, 0, count), places: new Float32Array(buffer, 8 * count, 2 * count) };
  return true;
};

const NEAR = 48; // points around one, to which the large view goes on
const openItem = (i) => cs.view.openItem(current.data.index, plot.ids[i], plot.around(i, NEAR).map((near) => plot.ids[near]));

/* What is picked belongs to the page; the map shows those of it that it has. */
const choose = (points, further) => {
  const some = plot.inside ? points.filter((i) => plot.inside[i]) : points; // what the filter leaves
  cs.picked.set(current.data.index, some.map((i) => String(plot.ids[i])), further ? "add" : undefined);
};
const showPicked = () => {
  if (!plot || !current) return;
  const { index, ids } = cs.picked;
  const points = [];
  if (index === current.data.index && ids.size) plot.ids.forEach((id, i) => { if (ids.has(String(id))) points.push(i); });
  plot.pick(points);
};
window.addEventListener("cs:picked", showPicked);

/* The item that the address names comes into the middle: once, or again where that is asked for. */
let located = null;
const locate = (again) => {
  const asked = new URLSearchParams(location.search);
  const item = asked.get("item");
  const here = asked.get("tab") === "map" && current?.ready && current.data.index === (asked.get("index") ?? current.data.index);
  if (!here || !plot.canvas.isConnected || (item === located && !again)) return;
  located = item;
  if (item && !plot.showItem(Number(item))) cs.toast(current.data.no_item, "error");
};
window.addEventListener("cs:locate", () => locate(true));
for (const type of ["popstate", "cs:navigate"]) window.addEventListener(type, () => locate());

const makePlot = (box) => {
  const hover = hoverCard(box.querySelector(".cs-hover"), (i) => current.source(i), () => current.data.name);
  const made = new Plot(box, {
    tool: () => box.querySelector("[data-tool][aria-pressed=true]").dataset.tool,
    tapped: openItem,
    hovered: (i, at) => hover(i, at, i < 0 ? 0 : made.ids[i], made.view),
    chosen: choose,
  });
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { tool, zoom } = button.dataset;
    if (tool) {
      for (const other of box.querySelectorAll("[data-tool]")) other.setAttribute("aria-pressed", other === button);
      made.canvas.dataset.using = tool;
    } else if (zoom) made.zoom(Number(zoom));
    else if ("fit" in button.dataset) made.fit();
    else if ("sight" in button.dataset) choose(made.inSight(), event.shiftKey);
  });
  return made;
};

export const open = async (box, data, again) => {
  current = { box, data }; // whichever is asked for last is shown
  const mine = current;
  if (!await load(data.points)) { setTimeout(again, 700); return; } // the collection has changed meanwhile
  if (mine !== current || !box.isConnected) return;
  current.source = (i) => `${data.media}/${plot.ids[i]}/thumbnail`;
  const fresh = box.querySelector(".cs-canvasbox");
  if (plot) {
    plot.canvas.setAttribute("aria-label", fresh.querySelector("canvas").getAttribute("aria-label"));
    fresh.replaceWith(plot.box);
  } else plot = makePlot(fresh);
  const { ids, places } = loaded;
  const colours = data.colours.map(rgb);
  plot.show({
    ids, places, codes: bytes(data.codes), byCode: data.scored, source: current.source,
    palette: data.scored ? ramp(colours) : colours,
    inside: data.inside && bits(data.inside, ids.length),
    groups: data.labels.map((group) => ({ ...group, colour: data.scored ? "" : data.colours[group.code] })),
  });
  showPicked();
  current.ready = true;
  box.dataset.ready = "";
  locate();
  box.addEventListener("click", (event) => {
    const entry = event.target.closest("[data-group],[data-least]");
    if (!entry) return;
    const { group, least } = entry.dataset;
    const wanted = group === undefined ? (code) => code >= Number(least) : (code) => code === Number(group);
    choose([...plot.codes.keys()].filter((i) => wanted(plot.codes[i])), event.shiftKey);
  });
};
