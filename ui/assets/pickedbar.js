/* The one bar for what is selected, on every tab: what can be done with it. */
(() => {
  const words = window.csPick;
  const icons = {
    clear: "M6 6l12 12M18 6L6 18",
    all: "M4 12l4 4 8-9M13 15l2 1 6-8",
    only: "M4 6h16M7 12h10M10 18h4",
  };
  const number = (n) => n.toLocaleString(window.csLang);
  const counted = (key, n) => cs.fill(n === 1 && words[`${key}_one`] ? words[`${key}_one`] : words[key], { n: number(n) });
  const actions = {
    all: { on: () => cs.results.isSearch(), run: () => cs.picked.all() },
    only: { run: async () => {
      const { selection } = await cs.picked.send("selection");
      const params = new URLSearchParams({ index: cs.picked.index, selection });
      if (cs.results.isSearch()) await cs.results.open(params.toString(), { push: true, fill: true });
      else cs.go(params);
    } },
  };

  let bar = null;
  const button = (name) => `<button type="button" class="cs-pickact" data-pick="${name}" title="${words[name]}"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icons[name]}"/></svg><span>${words[name]}</span></button>`;
  const build = () => {
    bar = document.createElement("section");
    bar.id = "cs-pickedbar";
    bar.setAttribute("aria-label", words.bar);
    bar.innerHTML = `<div class="cs-pickhead"><button type="button" class="cs-pickact cs-pickclear" data-pick="clear" aria-label="${words.clear}" title="${words.clear}"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icons.clear}"/></svg></button><strong role="status"></strong></div><div class="cs-pickacts">${Object.keys(actions).map(button).join("")}</div>`;
    bar.addEventListener("click", (event) => {
      const name = event.target.closest("[data-pick]")?.dataset.pick;
      if (name) run(name);
    });
    document.body.append(bar);
  };
  let running = false;
  const run = async (name) => {
    if (name === "clear") { cs.picked.clear(); return; }
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
    if (!bar && !n) return;
    if (!bar) build();
    bar.hidden = !n;
    bar.querySelector("strong").textContent = n ? counted("count", n) : "";
    for (const [name, action] of Object.entries(actions)) {
      bar.querySelector(`[data-pick=${name}]`).hidden = !(action.on?.(n) ?? true);
    }
  };
  for (const type of ["cs:picked", "cs:navigate", "popstate"]) window.addEventListener(type, draw);
  document.addEventListener("DOMContentLoaded", draw);
  cs.pickedbar = { actions, icons, counted };
})();
