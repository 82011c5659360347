/* The Map tab: a plot with its tools, the list of groups beside it, and what can be done with a selection. */
import { hoverCard } from "./hover.js";
import { Plot } from "./plot.js";
import { Selected } from "./selected.js";

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

const openItem = (i) => {
  const detail = { index: current.data.index, id: plot.ids[i] };
  const event = new CustomEvent("clipsearch:open", { detail, bubbles: true, cancelable: true });
  if (plot.canvas.dispatchEvent(event)) plot.choose([i]); // nothing else opens it
};

const showHash = () => {
  const item = /^#item=(\d{1,15})$/.exec(location.hash);
  if (!item || !plot?.canvas.isConnected || !current) return;
  if (!plot.showItem(Number(item[1]))) cs.toast(current.data.words.no_item, "error");
};
window.addEventListener("hashchange", showHash);

const makePlot = (box) => {
  const hover = hoverCard(box.querySelector(".cs-hover"), (i) => current.source(i), () => current.data.name);
  const made = new Plot(box, {
    tool: () => box.querySelector("[data-tool][aria-pressed=true]").dataset.tool,
    tapped: openItem,
    hovered: (i, at) => hover(i, at, i < 0 ? 0 : made.ids[i], made.view),
    changed: (points) => current.selected.show(points),
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
    else if ("sight" in button.dataset) made.choose(made.inSight());
  });
  return made;
};

export const open = async (box, data, again) => {
  current = { box, data }; // whichever is asked for last is shown
  const mine = current;
  if (!await load(data.points)) { setTimeout(again, 700); return; } // the collection has changed meanwhile
  if (mine !== current || !box.isConnected) return;
  current.source = (i) => `${data.media}/${loaded.ids[i]}/thumbnail`;
  current.selected = new Selected(box.querySelector(".cs-mapside"), data, () => plot, openItem);
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
  box.dataset.ready = "";
  showHash();
  box.addEventListener("click", (event) => {
    const entry = event.target.closest("[data-group],[data-least]");
    if (!entry) return;
    const { group, least } = entry.dataset;
    const wanted = group === undefined ? (code) => code >= Number(least) : (code) => code === Number(group);
    plot.choose([...plot.codes.keys()].filter((i) => wanted(plot.codes[i])));
  });
};
