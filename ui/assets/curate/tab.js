/* The Curate tab: asks for what the address names, part by part, and keeps its place. */
import { compare } from "./compare.js";
import { group, mark as markCard } from "./groups.js";

const OWN = ["look", "kind", "cosine"];
const NOT_ASKED = ["tab", "lang", "__theme", "q", "c", "up", "down", "min", "hybrid", "target", "sort", "n", "of"]; // filters are
const PLACE = "cs-curate"; // where the reader was, for a reload
let root = null, words = {}, shown = null, asking = null, polling = 0;

const find = (selector) => root.querySelector(selector);
const params = () => {
  const asked = new URLSearchParams(location.search);
  for (const name of NOT_ASKED) asked.delete(name);
  return asked;
};
const ask = (part, extra = {}, options = {}) => {
  const asked = params();
  for (const [name, value] of Object.entries(extra)) asked.set(name, value);
  return cs.results.ask(`curate${part}`, asked, options);
};
const keyOf = () => { const asked = params(); asked.sort(); return asked.toString(); };
const change = (edit) => {
  const asked = new URLSearchParams(location.search);
  edit(asked);
  keep();
  cs.address(asked);
  visit(root, words);
};

/* --- marks, which are the selection of the whole page -------------------------------------- */
const meant = new Map();
const isPicked = (id) => cs.picked.has(String(id), shown?.index);
const pick = (ids, on) => cs.picked.set(shown.index, ids, on ? "add" : "remove");
const rest = (one) => one.cards.filter((card) => !card.keep).map((card) => card.id);
const marked = () => {
  if (!root || !shown?.groups) return;
  for (const node of find(".cs-curated").querySelectorAll(".cs-twin")) markCard(node, isPicked(node.dataset.id));
  for (const section of find(".cs-curated").querySelectorAll(".cs-twins")) {
    const boxes = [...section.querySelectorAll(".cs-twin input")];
    section.classList.toggle("cs-allmarked", shown.look === "duplicates" && boxes.every((box) => box.checked));
  }
  find(".cs-lists").hidden = shown.look !== "duplicates" || cs.picked.index !== shown.index || !cs.picked.size;
};

const restOfAll = async () => {
  const found = await ask("/rest");
  found.ids.forEach((id, place) => meant.set(`${shown.index}:${id}`, found.meant[place]));
  pick(found.ids, true);
};
const list = async (form) => {
  const ids = Object.fromEntries([...cs.picked.ids].map((id) => [id, meant.get(`${shown.index}:${id}`) ?? ""]));
  const asked = params();
  asked.set("form", form);
  asked.set("index", shown.index);
  asked.set("lang", window.csLang);
  const answer = await fetch(`page/curate/list?${asked}`, { method: "POST", body: JSON.stringify({ ids }) });
  if (!answer.headers.get("content-disposition")) throw new Error((await answer.json().catch(() => ({}))).problem || cs.words.failed);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await answer.blob()), download: `may-be-deleted.${form}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

/* --- what is shown ------------------------------------------------------------------------- */
const controls = () => {
  const asked = params();
  const look = asked.get("look") || "duplicates";
  for (const button of root.querySelectorAll("[data-look]")) button.setAttribute("aria-pressed", button.dataset.look === look);
  const kinds = asked.getAll("kind");
  for (const box of root.querySelectorAll("[data-kind]")) box.checked = !kinds.length || kinds.includes(box.dataset.kind);
  find(".cs-kinds").hidden = look !== "duplicates";
  const from = find(".cs-from input");
  from.value = asked.get("cosine") || 0.8;
  find(".cs-from output").textContent = asked.get("cosine") || words.auto;
};
const busy = (on) => { root.classList.toggle("cs-asking", on); root.setAttribute("aria-busy", on); };
const notice = (node) => find(".cs-curatenotice").replaceChildren(...(node ? [node] : []));
const fromHtml = (text) => Object.assign(document.createElement("div"), { innerHTML: text });
const problem = (error) => {
  if (error.name === "AbortError" || error.lost) return;
  notice(Object.assign(document.createElement("div"), { className: "cs-message cs-error", role: "alert", textContent: error.message }));
};
const working = ({ told, share }) => {
  const box = Object.assign(document.createElement("div"), { className: "cs-screen" });
  const bar = Object.assign(document.createElement("progress"), { max: 1 });
  if (share > 0) bar.value = share;
  bar.setAttribute("aria-label", told);
  box.append(bar, Object.assign(document.createElement("p"), { textContent: told }));
  return box;
};
const clear = () => {
  find(".cs-curated").replaceChildren();
  find(".cs-count").textContent = "";
  find("[data-rest]").hidden = true;
};

const add = (groups) => {
  const box = find(".cs-curated");
  for (const one of groups) {
    for (const card of one.cards) meant.set(`${shown.index}:${card.id}`, card.meant);
    shown.groups.push(one);
    box.append(group(one, shown, words, shown.groups.length));
  }
  marked();
};
const show = (found, key) => {
  shown = { ...found, key, groups: [] };
  clear();
  find(".cs-count").textContent = found.summary ?? "";
  find("[data-rest]").hidden = found.look !== "duplicates" || !found.groups;
  notice(found.notice ? fromHtml(found.notice) : null);
  if (found.groups) add(found.groups);
  marked();
};

let growing = null;
const grow = () => {
  if (!shown?.more || growing) return growing;
  const mine = shown;
  const offset = mine.look === "duplicates" ? mine.groups.length : mine.groups.reduce((sum, one) => sum + one.cards.length, 0);
  growing = ask("", { offset }).then((found) => {
    if (mine !== shown) return;
    if (found.commit !== mine.commit || !found.groups) { shown.more = false; if (found.busy || found.commit) open(true); return; }
    mine.more = found.more;
    add(found.groups);
  }).catch(problem).finally(() => { growing = null; near(); });
  return growing;
};
/* The next part is asked for before the reader comes to its place. */
const near = () => {
  if (shown?.more && root.offsetParent && find(".cs-curatemore").getBoundingClientRect().top < 3 * innerHeight) grow();
};

const keep = () => {
  if (!shown?.groups || !root?.offsetParent) return;
  try { sessionStorage.setItem(PLACE, JSON.stringify({ key: shown.key, limit: shown.groups.length, y: scrollY })); } catch { /* not kept */ }
};
const kept = (key) => {
  try {
    const place = JSON.parse(sessionStorage.getItem(PLACE) || "null");
    return place?.key === key ? place : null;
  } catch { return null; }
};

/* Ask for what the address names; `again` when the index has changed: then what is shown stays until the new is there. */
const open = async (again) => {
  asking?.abort();
  clearTimeout(polling);
  const mine = asking = new AbortController();
  const key = keyOf();
  const place = again && shown ? { limit: shown.groups?.length ?? 0, y: scrollY } : kept(key);
  if (!again) clear();
  const late = setTimeout(() => busy(true), 150);
  try {
    const found = await ask("", place?.limit ? { limit: place.limit } : {}, { signal: mine.signal });
    if (mine.signal.aborted) return;
    if (found.busy) {
      if (!shown?.groups || shown.key !== key) shown = { index: found.index, key };
      notice(working(found.busy));
      polling = setTimeout(() => { if (root.offsetParent) open(again || false); }, 500);
      return;
    }
    show(found, key);
    if (place) scrollTo(0, place.y);
    near();
  } catch (error) { if (!mine.signal.aborted) problem(error); } finally {
    clearTimeout(late);
    if (asking === mine) { asking = null; busy(false); }
  }
};

const act = async (button) => {
  try {
    const section = button.closest(".cs-twins");
    const one = section && shown.groups[Number(section.dataset.place)];
    const card = button.closest(".cs-twin");
    const at = card ? one.cards.findIndex((other) => String(other.id) === card.dataset.id) : -1;
    if (button.dataset.look) change((asked) => { for (const name of OWN) asked.delete(name); if (button.dataset.look !== "duplicates") asked.set("look", button.dataset.look); });
    else if (button.matches(".cs-curatetools [data-rest]")) { busy(true); await restOfAll(); }
    else if (button.matches("[data-rest]")) pick(rest(one), true);
    else if (button.dataset.list) { busy(true); await list(button.dataset.list); }
    else if (button.matches("[data-all]")) {
      const whole = await ask("/group", { leader: one.cards[0].id });
      Object.assign(one, whole);
      section.replaceWith(group(one, shown, words, Number(section.dataset.place) + 1));
      marked();
    } else if (button.matches("[data-compare]")) compare(one.cards, Math.max(at, 1), shown.index, words, { isPicked, pick, ask });
    else if (button.matches(".cs-open")) await enlarge(one.cards, at);
  } catch (error) { if (!error.lost) cs.toast(error.message, "error"); } finally { busy(false); }
};
/* The large view goes on through the images of a group. */
const enlarge = (cards, at) => {
  const ids = cards.map((card) => card.id);
  return cs.view.openItem(shown.index, ids[at], [...ids.slice(at + 1), ...ids.slice(0, at)]);
};

const mount = (box, texts) => {
  [root, words] = [box, texts];
  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches("[data-again]")) open();
    else if (button) act(button);
  });
  root.addEventListener("input", (event) => {
    event.stopPropagation();
    if (event.target.matches(".cs-from input")) find(".cs-from output").textContent = event.target.value;
  });
  root.addEventListener("change", (event) => {
    event.stopPropagation();
    const { target } = event;
    if (target.matches(".cs-twin input")) pick([target.closest(".cs-twin").dataset.id], target.checked);
    else if (target.matches(".cs-from input")) change((asked) => asked.set("cosine", target.value));
    else if (target.dataset.kind) {
      const chosen = [...root.querySelectorAll("[data-kind]")].filter((box) => box.checked).map((box) => box.dataset.kind);
      if (!chosen.length) { target.checked = true; return; }
      change((asked) => { asked.delete("kind"); if (chosen.length < 3) for (const kind of chosen) asked.append("kind", kind); });
    }
  });
  window.addEventListener("cs:picked", marked);
  window.addEventListener("cs:changed", () => { if (root.offsetParent) visit(root, words); }); // tagged, removed, or put back
  window.addEventListener("scroll", () => {
    if (!shown || !root.offsetParent) return;
    shown.y = scrollY;
    near();
  }, { passive: true });
  let visible = !!root.offsetParent;
  new ResizeObserver(() => { // another tab was shown meanwhile
    if (root.offsetParent && !visible && shown) scrollTo(0, shown.y ?? 0);
    visible = !!root.offsetParent;
  }).observe(root);
  window.addEventListener("pagehide", keep);
};

/* What the address names, unless it is shown already and the index is as it was. */
export const visit = async (box, texts) => {
  if (root !== box) { shown = null; mount(box, texts); }
  root.style.setProperty("--header", `${document.getElementById("cs-header").offsetHeight}px`); // which stays in sight
  controls();
  const key = keyOf();
  if (shown?.key !== key) { await open(); return; }
  if (asking) return;
  try {
    const found = await ask("", { offset: 0 });
    if (shown?.key === key && (found.busy || found.commit !== shown.commit)) open(true);
  } catch (error) { problem(error); }
};
