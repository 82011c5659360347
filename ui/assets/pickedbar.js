/* The one bar for what is selected, on every tab: what can be done with it, and the way back. */
(() => {
  const words = window.csPick, may = window.csMay;
  const REMOVED = "cs-removed";
  const icons = {
    clear: "M6 6l12 12M18 6L6 18",
    all: "M4 12l4 4 8-9M13 15l2 1 6-8",
    only: "M4 6h16M7 12h10M10 18h4",
    compare: "M4 5h7v14H4zM13 5h7v14h-7z",
    zip: "M12 4v11M7 11l5 5 5-5M5 20h14",
    csv: "M4 5h16v14H4zM4 10h16M4 15h16M10 5v14",
    paths: "M9 9h11v11H9zM5 15H4V4h11v1",
    tag: "M4 4h8l8 8-8 8-8-8zM8 8v.1",
    untag: "M4 4h8l8 8-8 8-8-8zM9 15l6-6",
    album: "M4 7h12v13H4zM8 7V4h12v13h-4M10 11v5M7.500 13.500h5",
    unalbum: "M4 7h12v13H4zM8 7V4h12v13h-4M7.500 13.500h5",
    remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  };
  const counted = (key, n) => cs.fill(n === 1 && words[`${key}_one`] ? words[`${key}_one`] : words[key], { n: n.toLocaleString(window.csLang) });
  const download = async (kind) => {
    const { selection } = await cs.picked.send("selection");
    const link = document.createElement("a");
    link.href = `page/${kind}/${encodeURIComponent(cs.picked.index)}?${new URLSearchParams({ selection, lang: window.csLang })}`;
    link.download = "";
    link.click();
    if (kind === "zip") cs.toast(words.zip_started);
  };
  /* Asks for a name where need be, changes the collection, and shows what is there now. */
  const change = (what, free) => async () => {
    const marks = await cs.picked.send("marks");
    const options = marks[what];
    if (!free && !options.length) { cs.toast(what === "untag" ? words.none_untag : words.none_unalbum); return; }
    const label = words[what.endsWith("tag") ? "tag_label" : "album_label"];
    const name = await cs.ask({ title: words[what], label, options, free, hint: counted("count", cs.picked.size) });
    if (name) changed(await cs.picked.send(what, { name }));
  };
  const changed = ({ told }) => {
    if (told) cs.toast(told);
    if (cs.results.isSearch() && cs.results.shown) cs.results.again();
    window.dispatchEvent(new Event("cs:changed"));
  };
  const actions = {
    all: { on: () => cs.results.isSearch(), run: () => cs.picked.all() },
    only: { run: async () => {
      const { selection } = await cs.picked.send("selection");
      const params = new URLSearchParams({ index: cs.picked.index, selection });
      if (cs.results.isSearch()) await cs.results.open(params.toString(), { push: true, fill: true });
      else cs.go(params);
    } },
    compare: { on: (n) => n > 1 && n < 5, run: () => cs.compare(cs.picked.index, [...cs.picked.ids]) },
    zip: { run: () => download("zip") },
    csv: { run: () => download("csv") },
    paths: { on: () => may.paths, run: async () => cs.copy((await cs.picked.send("paths")).text) },
    tag: { on: () => may.change, run: change("tag", true) },
    untag: { on: () => may.change, run: change("untag", false) },
    album: { on: () => may.change, run: change("album", true) },
    unalbum: { on: () => may.change, run: change("unalbum", false) },
    remove: { on: () => may.change, run: async () => {
      const gone = { index: cs.picked.index, ids: [...cs.picked.ids] };
      const { told } = await cs.picked.send("remove");
      keep({ ...gone, told });
      cs.picked.clear();
      changed({});
      bar.querySelector("[data-pick=undo]").focus();
    } },
    undo: { on: () => false, run: async () => {
      const { index, ids } = removed;
      const found = await cs.picked.send("restore", {}, index, ids);
      keep(null);
      changed(found);
    } },
  };

  /* What was removed last can come back, also after a reload. */
  let removed = null;
  try { removed = JSON.parse(sessionStorage.getItem(REMOVED) || "null"); } catch { /* none */ }
  const keep = (gone) => {
    removed = gone;
    try {
      if (gone) sessionStorage.setItem(REMOVED, JSON.stringify(gone));
      else sessionStorage.removeItem(REMOVED);
    } catch { /* until the page is left */ }
    draw();
  };

  let bar = null, running = false;
  const svg = (name) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icons[name]}"/></svg>`;
  const button = (name) => `<button type="button" class="cs-pickact" data-pick="${name}">${svg(name)}<span>${words[name]}</span></button>`;
  const build = () => {
    bar = document.createElement("section");
    bar.id = "cs-pickedbar";
    bar.setAttribute("aria-label", words.bar);
    bar.innerHTML = `<div class="cs-undoline" hidden><span role="status"></span><button type="button" class="cs-button cs-primary" data-pick="undo">${words.undo}</button><button type="button" class="cs-dismiss" data-pick="forget" aria-label="${words.close}">\u00d7</button></div>
      <div class="cs-chosen"><div class="cs-pickhead"><button type="button" class="cs-pickact cs-pickclear" data-pick="clear" aria-label="${words.clear}" title="${words.clear}">${svg("clear")}</button><strong role="status"></strong></div><div class="cs-pickacts">${Object.keys(actions).filter((name) => icons[name]).map(button).join("")}</div></div>`;
    bar.addEventListener("click", (event) => {
      const name = event.target.closest("[data-pick]")?.dataset.pick;
      if (name === "clear") cs.picked.clear();
      else if (name === "forget") keep(null);
      else if (name) run(name);
    });
    document.body.append(bar);
  };
  const run = async (name) => {
    if (running) return;
    running = true;
    bar.setAttribute("aria-busy", true);
    try { await actions[name].run(); } catch (error) { if (!error.lost) cs.toast(error.message, "error"); } finally {
      running = false;
      bar.removeAttribute("aria-busy");
    }
  };
  const draw = () => {
    const n = cs.picked.size;
    if (!bar && !n && !removed) return;
    if (!bar) build();
    bar.hidden = !n && !removed;
    bar.querySelector(".cs-undoline").hidden = !removed;
    bar.querySelector(".cs-undoline span").textContent = removed?.told ?? "";
    bar.querySelector(".cs-chosen").hidden = !n;
    bar.querySelector("strong").textContent = n ? counted("count", n) : "";
    for (const node of bar.querySelectorAll(".cs-pickacts [data-pick]")) node.hidden = !(actions[node.dataset.pick].on?.(n) ?? true);
  };
  for (const type of ["cs:picked", "cs:navigate", "popstate"]) window.addEventListener(type, draw);
  window.addEventListener("cs:shown", () => { if (removed && cs.results.shown.index !== removed.index) keep(null); });
  document.addEventListener("DOMContentLoaded", draw);
  cs.pickedbar = { actions, icons };
})();
