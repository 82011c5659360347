/* The menu of albums and saved searches, in the bar over the results. */
(() => {
  const words = window.csAlbum, may = window.csMay;
  const OWN = "album:"; // how the address names an album among the chosen values of facets
  const ICON = "M4 7h12v13H4zM8 7V4h12v13h-4";
  let button = null, menu = null;
  const index = () => cs.header.index();
  const path = (part = "") => `albums/${encodeURIComponent(index())}${part}`;
  const link = () => new URLSearchParams(cs.results.link);
  const chosen = () => link().getAll("f").find((one) => one.startsWith(OWN))?.slice(OWN.length) ?? "";

  const open = (params) => cs.results.open(params.toString(), { push: true, fill: true });
  /* An album is a filter of the address like those of the panel. */
  const choose = (name) => {
    const params = link();
    const others = params.getAll("f").filter((one) => !one.startsWith(OWN));
    params.delete("f");
    for (const one of name ? [...others, OWN + name] : others) params.append("f", one);
    hide();
    open(params);
  };

  const icon = (d) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${d}"/></svg>`;
  const entry = (one, kind) => {
    const item = document.createElement("li");
    const main = Object.assign(document.createElement("button"), { type: "button", className: "cs-menuitem", textContent: one.name });
    main.dataset[kind] = one.name;
    if (kind === "album") main.setAttribute("aria-pressed", one.name === chosen());
    if (one.n !== undefined) main.append(Object.assign(document.createElement("small"), { textContent: one.n.toLocaleString(window.csLang) }));
    if (kind === "search") { main.dataset.link = one.link; main.disabled = !one.link; }
    item.append(main);
    const tools = !may.change ? [] : kind === "album" ? ["rename", "delete"] : ["forget"];
    for (const tool of tools) {
      const other = Object.assign(document.createElement("button"), { type: "button", className: "cs-menutool", title: words[tool] });
      other.innerHTML = icon(tool === "rename" ? "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3" : "M6 6l12 12M18 6L6 18");
      other.setAttribute("aria-label", cs.fill({ rename: words.rename_of, delete: words.delete_of, forget: words.forget_of }[tool], { name: one.name }));
      other.dataset.tool = tool;
      other.dataset.name = one.name;
      item.append(other);
    }
    return item;
  };
  const draw = ({ albums, searches }) => {
    const list = (title, kind, some, none) => {
      const head = Object.assign(document.createElement("h3"), { textContent: title });
      const ul = document.createElement("ul");
      ul.append(...some.map((one) => entry(one, kind)));
      const told = some.length ? [] : [Object.assign(document.createElement("p"), { className: "cs-hint", textContent: none })];
      return [head, ...told, ul];
    };
    const tool = (name) => {
      const made = Object.assign(document.createElement("button"), { type: "button", className: "cs-button", textContent: words[name] });
      made.dataset.tool = name;
      return made;
    };
    menu.replaceChildren(
      ...list(words.albums, "album", albums, words.no_albums), ...(chosen() ? [tool("every")] : []), ...(may.change ? [tool("make")] : []),
      ...list(words.searches, "search", searches, words.no_searches), ...(may.change ? [tool("save")] : []));
  };
  const change = async (what, fields) => {
    try {
      draw(await cs.results.ask(path(`/${what}`), new URLSearchParams(), { method: "POST", body: JSON.stringify(fields) }));
      window.dispatchEvent(new Event("cs:changed"));
      return true;
    } catch (error) { if (!error.lost) cs.toast(error.message, "error"); return false; }
  };
  const asked = async (what, value = "") => cs.ask({ title: words[what], label: words.name, value, hint: "" });
  const does = {
    every: () => choose(""),
    make: async () => { const name = await asked("make"); if (name) await change("make", { name }); },
    rename: async (old) => {
      const name = await asked("rename", old);
      if (name && name !== old && await change("rename", { name: old, new: name }) && chosen() === old) choose(name);
    },
    delete: async (name) => { if (confirm(cs.fill(words.sure, { name })) && await change("delete", { name }) && chosen() === name) choose(""); },
    save: async () => {
      const search = cs.results.link;
      const name = await asked("save", new URLSearchParams(search).get("q") || "");
      if (name && await change("save", { name, link: search })) cs.toast(cs.fill(words.saved, { name }));
    },
    forget: (name) => change("forget", { name }),
  };

  const hide = () => {
    if (menu) menu.hidden = true;
    button?.setAttribute("aria-expanded", false);
  };
  const show = async () => {
    button.setAttribute("aria-expanded", true);
    menu.hidden = false;
    try {
      draw(await cs.results.ask(path(), new URLSearchParams()));
      (menu.querySelector("button:not(:disabled)"))?.focus({ preventScroll: true });
    } catch (error) { hide(); if (!error.lost) cs.toast(error.message, "error"); }
  };
  const mount = (tools) => {
    if (!tools || tools.querySelector("[data-albums]")) return;
    const box = document.createElement("div");
    box.className = "cs-menubox";
    box.innerHTML = `<button type="button" class="cs-tool cs-labelled" data-albums aria-expanded="false" aria-controls="cs-albums">${icon(ICON)}<span>${words.albums}</span></button><div id="cs-albums" class="cs-menu" role="group" aria-label="${words.albums}" hidden></div>`;
    tools.prepend(box);
    [button, menu] = box.children;
    button.addEventListener("click", () => (menu.hidden ? show() : hide()));
    menu.addEventListener("click", (event) => {
      const one = event.target.closest("button");
      if (!one) return;
      if (one.dataset.tool) does[one.dataset.tool](one.dataset.name);
      else if (one.dataset.album) choose(one.dataset.album === chosen() ? "" : one.dataset.album);
      else if (one.dataset.link) { hide(); open(new URLSearchParams(one.dataset.link)); }
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || menu.hidden) return;
      event.preventDefault();
      hide();
      button.focus();
    });
  };
  document.addEventListener("pointerdown", (event) => { if (menu && !menu.hidden && !event.target.closest(".cs-menubox, dialog")) hide(); });
  cs.albums = { mount, choose };
})();
