/* What is selected, wherever that was done: ids of one collection, kept until the tab is closed. */
(() => {
  const KEPT = "cs-picked";
  const MOST = 100000;
  let index = "", ids = new Set(), saving = 0;
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (kept) [index, ids] = [kept.index, new Set(kept.ids)];
  } catch { /* none is kept */ }

  const save = () => {
    clearTimeout(saving);
    saving = 0;
    try {
      if (ids.size) sessionStorage.setItem(KEPT, JSON.stringify({ index, ids: [...ids] }));
      else sessionStorage.removeItem(KEPT);
    } catch { /* it lasts as long as the page */ }
  };
  window.addEventListener("pagehide", () => { if (saving) save(); });
  const changed = () => {
    saving ||= setTimeout(save, 300);
    window.dispatchEvent(new Event("cs:picked"));
  };

  /* how: "add", "remove", or nothing to replace what was selected. */
  const set = (of, given, how) => {
    const some = [...given].map(String);
    if (how !== "add" && how !== "remove" || of !== index) ids = new Set();
    index = of;
    for (const id of how === "remove" ? some : some.slice(0, MOST - ids.size)) ids[how === "remove" ? "delete" : "add"](id);
    changed();
  };
  const clear = () => { if (ids.size) set(index, []); };

  /* What the server does with what is selected. */
  const send = (action, fields = {}, of = index, some = ids) => cs.results.ask(
    `picked/${encodeURIComponent(of)}/${action}`, new URLSearchParams(),
    { method: "POST", body: JSON.stringify({ ids: [...some].map(Number), ...fields }) });

  window.addEventListener("cs:shown", () => {
    if (cs.results.shown.index !== index) clear();
  });
  cs.picked = {
    get index() { return index; },
    get ids() { return ids; },
    get size() { return ids.size; },
    has: (id, of = index) => of === index && ids.has(String(id)),
    toggle: (id, on = !ids.has(String(id)), of = cs.results.shown?.index ?? index) => set(of, [id], on ? "add" : "remove"),
    set, clear, send, MOST,
  };
})();
