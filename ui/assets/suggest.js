/* Under the search line: what this visitor searched for lately, or examples where there is nothing. */
(() => {
  const words = window.csAlbum;
  const MOST = 8;
  const FIELD = "#cs-query textarea, #cs-query input";
  let box = null, examples = {}, away = 0;
  const index = () => cs.header.index();
  const key = () => `cs-recent:${index()}`;
  const recent = () => { try { return JSON.parse(cs.store.get(key()) || "[]").filter((one) => typeof one === "string"); } catch { return []; } };
  const keep = (some) => cs.store.set(key(), JSON.stringify(some.slice(0, MOST)));
  window.addEventListener("cs:shown", () => {
    const text = new URLSearchParams(cs.results.shown.link).get("q");
    if (text && cs.results.shown.cards && recent()[0] !== text) keep([text, ...recent().filter((one) => one !== text)]);
  });

  const field = () => document.querySelector(FIELD);
  const hide = () => { if (box) box.hidden = true; };
  const search = (text) => {
    hide();
    field().value = text;
    cs.search.ask(text);
  };
  const chip = (text) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "cs-suggestion", textContent: text });
    button.dataset.text = text;
    return button;
  };
  const draw = () => {
    const typed = field()?.value.trim() ?? "";
    const lately = recent().filter((one) => one !== typed && one.toLowerCase().startsWith(typed.toLowerCase()));
    const some = typed ? [] : (examples[index()] || []).filter((one) => !lately.includes(one));
    const parts = [];
    if (lately.length) parts.push([words.recent, lately, true]);
    if (some.length) parts.push([words.examples, some]);
    if (!parts.length) { hide(); return; }
    box.replaceChildren(...parts.flatMap(([title, texts, own]) => {
      const head = Object.assign(document.createElement("h3"), { textContent: title });
      if (own) head.append(Object.assign(document.createElement("button"), { type: "button", className: "cs-link", textContent: words.forget_recent }));
      const group = Object.assign(document.createElement("div"), { className: own ? "cs-recents" : "cs-examples" });
      group.append(...texts.map(chip));
      return [head, group];
    }));
    const at = (field().closest(".cs-searchline") ?? field()).getBoundingClientRect();
    box.style.left = `${at.left}px`;
    box.style.top = `${at.bottom + 4}px`;
    box.style.width = `${Math.max(at.width, Math.min(320, innerWidth - at.left - 12))}px`;
    box.hidden = false;
  };
  const build = () => {
    box = Object.assign(document.createElement("div"), { className: "cs-suggest", hidden: true });
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", words.suggestions);
    box.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
    box.addEventListener("click", (event) => {
      const one = event.target.closest("button");
      if (one?.dataset.text) search(one.dataset.text);
      else if (one) { keep([]); draw(); }
    });
    document.body.append(box);
  };
  const show = async () => {
    if (!box) build();
    clearTimeout(away);
    draw();
    const name = index();
    if (!name || examples[name]) return;
    try { examples[name] = (await cs.results.ask(`examples/${encodeURIComponent(name)}`, new URLSearchParams())).examples; } catch { examples[name] = []; }
    if (document.activeElement === field()) draw();
  };
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(FIELD)) show();
    else if (box && !box.contains(event.target)) hide();
  });
  document.addEventListener("focusout", () => { away = setTimeout(() => { if (!box?.contains(document.activeElement) && document.activeElement !== field()) hide(); }, 50); });
  document.addEventListener("input", (event) => { if (box && event.target.matches?.(FIELD)) draw(); }, true);
  document.addEventListener("pointerdown", (event) => { if (event.target.matches?.(FIELD) && event.target === document.activeElement) show(); });
  window.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (!box || box.hidden) return;
    const inside = box.contains(document.activeElement);
    if (document.activeElement !== field() && !inside) return;
    if (event.key === "Enter" && !inside) { hide(); return; }
    if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); if (inside) field().focus(); hide(); return; }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const all = [...box.querySelectorAll("[data-text]")];
    const to = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
    event.stopPropagation();
    (all[to] ?? field()).focus();
  }, true);
})();
