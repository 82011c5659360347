/* One image in full: opens from its card, goes on without asking, and Back closes it. */
(() => {
  let words = {}, dialog = null, at = -1, before = null, opening = 0, answered = null;
  let others = null; // items that are shown instead of those of the search
  const list = () => others ?? cs.results.shown;
  const card = () => list()?.cards?.[at];
  const media = (one, kind) => `media/${encodeURIComponent(list().index)}/${one.id}/${kind}${one.version ? `?v=${one.version}` : ""}`;
  const item = (part = "") => `items/${encodeURIComponent(list().index)}/${card().id}${part}`;
  const file = (download) => `page/${item("/file")}${download ? "?download=1" : ""}`;
  const find = (selector) => dialog.querySelector(selector);

  const icons = {
    zoom: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5M8 11h6M11 8v6",
    full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
    region: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 9h6v6H9z",
    info: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 11v5M12 8v.2",
  };
  const icon = (name) => `<button type="button" class="cs-viewtool" data-do="${name}" aria-label="${words[name]}" title="${words[name]}"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icons[name]}"/></svg></button>`;
  const build = () => {
    dialog = document.createElement("dialog");
    dialog.className = "cs-dialog";
    dialog.innerHTML = `
      <div class="cs-stage" tabindex="-1">
        <div class="cs-pane"><img class="cs-small" alt="" draggable="false"><img class="cs-large" alt="" draggable="false"></div>
        <p class="cs-hint cs-gone" hidden>${words["item.picture_gone"]}</p>
        <div class="cs-viewtools">${["zoom", "full", "region", "info"].map(icon).join("")}</div>
        <button type="button" class="cs-prev" data-step="-1" aria-label="${words["item.previous"]}">\u2039</button>
        <button type="button" class="cs-next" data-step="1" aria-label="${words["item.next"]}">\u203a</button>
        <div class="cs-regionbar" hidden></div>
      </div>
      <div class="cs-side"><h2></h2><p class="cs-fitline"></p>
        <div class="cs-actions">
          ${["more", "less", "this", "why", "map", "caption"].map((name) => `<button type="button" class="cs-button" data-do="${name}">${words[name] ?? words[`item.${name}`]}</button>`).join("")}
          <a class="cs-button" data-download download>${words.download}</a>
          <a class="cs-button" data-original target="_blank" rel="noopener">${words.original}</a>
          <button type="button" class="cs-button" data-do="path" hidden>${words.path}</button>
        </div>
        <div class="cs-extra" role="status"></div><div class="cs-table-of"></div></div>
      <button type="button" class="cs-closer" data-close aria-label="${words["item.close"]}">\u00d7</button>`;
    document.querySelector(".gradio-container .contain").append(dialog); // another tab may be shown than that of the search
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (event.target === dialog || button?.matches("[data-close]")) close();
      else if (button?.dataset.step) step(Number(button.dataset.step));
      else if (button?.dataset.do) act(button.dataset.do);
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || cs.region.active()) return;
      if (event.key === "ArrowRight") step(1);
      else if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "f" || event.key === "F") act("full");
      else if (event.key === "i" || event.key === "I") act("info");
      else if (event.key === "+" || event.key === "=") cs.zoom.by(1.4);
      else if (event.key === "-") cs.zoom.by(1 / 1.4);
      else if (event.key === "0") cs.zoom.reset();
      else if (event.key === "Tab") return trap(event);
      else return;
      event.preventDefault();
    });
    cs.zoom.mount(find(".cs-stage"), find(".cs-pane"), { step, close, full: sharpen });
    cs.region.mount(find(".cs-stage"), find(".cs-regionbar"), words, searchRegion);
  };
  const trap = (event) => {
    const all = [...dialog.querySelectorAll("button, a[href], [tabindex='0'], input")].filter((one) => one.offsetParent && !one.disabled);
    const edge = event.shiftKey ? all[0] : all[all.length - 1];
    if (document.activeElement !== edge && dialog.contains(document.activeElement) && document.activeElement !== find(".cs-stage")) return;
    if (document.activeElement === find(".cs-stage") && !event.shiftKey) return;
    event.preventDefault();
    (event.shiftKey ? all[all.length - 1] : all[0]).focus();
  };

  /* What is on the card already is shown at once; the large image takes its place when it is there. */
  const draw = () => {
    const one = card();
    if (!one) return;
    const small = find(".cs-small"), large = find(".cs-large"), pane = find(".cs-pane");
    cs.zoom.reset();
    cs.region.stop();
    dialog.dataset.item = one.id;
    dialog.setAttribute("aria-label", one.name);
    pane.style.setProperty("--ratio", (one.width || 3) / (one.height || 2));
    pane.style.setProperty("--wide", `${Math.max(one.width || 1600, 320)}px`);
    find(".cs-gone").hidden = one.image;
    pane.hidden = !one.image;
    large.classList.remove("cs-there");
    large.removeAttribute("src");
    small.removeAttribute("src");
    if (one.image) {
      small.src = media(one, "thumbnail");
      large.alt = one.name;
      large.onload = () => large.classList.add("cs-there");
      large.onerror = () => { if (card() === one) { find(".cs-gone").hidden = false; pane.hidden = true; } };
      clearTimeout(opening);
      opening = setTimeout(() => { if (card() === one) large.src = media(one, "preview"); }, 60);
    }
    find("h2").textContent = one.name;
    const fit = find(".cs-fitline");
    fit.textContent = one.fit ? words[`fit_${one.fit}`] : "";
    fit.title = one.told ?? "";
    if (one.told) fit.append(Object.assign(document.createElement("small"), { textContent: ` ${one.told}` }));
    find(".cs-extra").replaceChildren();
    find(".cs-table-of").replaceChildren();
    find("[data-do=path]").hidden = true;
    find("[data-do=less]").hidden = !list().asked;
    for (const [selector, download] of [["[data-download]", true], ["[data-original]", false]]) {
      find(selector).hidden = !one.image;
      find(selector).href = file(download);
    }
    find("[data-download]").setAttribute("download", "");
    find(".cs-prev").disabled = at === 0;
    find(".cs-next").disabled = at + 1 >= list().ratios.length && !list().more;
    know(one);
  };
  let asking = 0;
  const know = (one) => {
    answered?.abort();
    clearTimeout(asking);
    asking = setTimeout(async () => {
      const mine = answered = new AbortController();
      for (const by of [1, -1, 2]) {
        const next = list()?.cards[at + by];
        if (next?.image) new Image().src = media(next, "preview");
      }
      try {
        const found = await cs.results.ask(item(), new URLSearchParams(), { signal: mine.signal });
        if (card() !== one) return;
        find(".cs-gone").textContent = found.gone;
        find(".cs-table-of").innerHTML = found.table;
        find("[data-do=path]").hidden = !found.path;
        find("[data-do=path]").dataset.copy = found.path ?? "";
        if (!found.path) delete find("[data-do=path]").dataset.copy;
      } catch (error) {
        if (error.name !== "AbortError" && card() === one) find(".cs-extra").textContent = error.message;
      }
    }, 120);
  };
  const sharpen = () => {
    const one = card(), large = find(".cs-large");
    if (!one?.image || Math.max(one.width, one.height) <= 1600 || large.src.includes("/file")) return;
    const original = new Image();
    original.onload = () => { if (card() === one) large.src = original.src; };
    original.src = file(false);
  };

  /* Steps are counted, so that none is lost while cards are on their way. */
  let owed = 0, walking = false;
  const step = async (by) => {
    owed += by;
    if (walking) return;
    walking = true;
    try {
      while (owed) {
        const way = Math.sign(owed), next = at + way, found = list();
        if (next < 0) { owed = 0; break; }
        if (next >= found.ratios.length && !await cs.results.grow(found)) { owed = 0; break; }
        if (!found.cards[next]) {
          await cs.results.load(found, Math.max(0, next - 20), Math.min(found.ratios.length, next + 60));
          if (!found.cards[next]) { owed = 0; break; }
        }
        owed -= way;
        at = next;
        draw();
      }
    } finally { walking = false; }
    history.replaceState({ ...history.state, view: at }, "");
    if (list().cards.length < at + 30) cs.results.load(list(), at, Math.min(list().ratios.length, at + 90));
  };

  const open = (place, follow) => {
    if (!list()?.cards?.[place]) return;
    if (!dialog) build();
    at = place;
    if (!dialog.open) {
      before = document.activeElement;
      if (!follow) {
        cs.results.remember();
        history.pushState({ ...history.state, view: place, others: others?.named }, "");
      }
      dialog.showModal();
      document.documentElement.classList.add("cs-viewing");
      find(".cs-stage").focus({ preventScroll: true });
      cs.dialogs.raise();
    }
    draw();
  };
  /* Open an item that the search may not show; next and previous lead to others that are near it. */
  const openItem = async (index, id, near = []) => {
    await ofOthers({ index, ids: [...new Set([id, ...near].map(String))] }, 0);
  };
  const ofOthers = async (named, place, follow) => {
    let found;
    try {
      found = await cs.results.ask("results", new URLSearchParams({ index: named.index, ids: named.ids.join("-") }));
    } catch (error) { if (!error.lost) cs.toast(error.message, "error"); return; }
    const known = new Map((found.cards ?? []).map((one) => [String(one.id), one]));
    const wanted = known.get(named.ids[place]);
    const cards = named.ids.map((id) => known.get(id)).filter(Boolean);
    if (!wanted) { cs.toast(words.no_item, "error"); return; }
    const ids = cards.map((one) => String(one.id));
    others = { index: named.index, named: { index: named.index, ids }, cards, ratios: cards.map(() => 100), more: false, loading: new Map() };
    open(cards.indexOf(wanted), follow);
  };
  const hide = () => {
    if (!dialog?.open) return;
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    answered?.abort();
    clearTimeout(asking);
    cs.region.stop();
    dialog.close();
    document.documentElement.classList.remove("cs-viewing");
    find(".cs-large").removeAttribute("src");
    const node = others ? null : cs.grid.reveal(at);
    others = null;
    (node?.querySelector(".cs-open") ?? before)?.focus?.({ preventScroll: true });
  };
  let closing = null;
  const close = () => new Promise((done) => {
    if (!dialog?.open) { done(); return; }
    closing = done;
    history.back();
  });
  /* The entry of the history says whether an image is open. */
  const follow = () => {
    const { view: place, others: named } = history.state ?? {};
    if (named && Number.isInteger(place)) {
      if (!dialog?.open) ofOthers(named, place, true);
      else if (place !== at) { at = place; draw(); }
    } else if (cs.results.isSearch() && Number.isInteger(place) && list()?.cards?.[place]) {
      if (!dialog?.open) open(place, true);
      else if (place !== at) { at = place; draw(); }
    } else hide();
    closing?.();
    closing = null;
  };

  const act = async (what) => {
    const one = card(), index = list().index;
    if (what === "zoom") cs.zoom.toggle();
    else if (what === "full") {
      if (document.fullscreenElement) document.exitFullscreen();
      else dialog.requestFullscreen?.().catch(() => {});
    } else if (what === "info") dialog.classList.toggle("cs-bare");
    else if (what === "region") cs.region.toggle(find(".cs-pane"));
    else if (what === "caption") {
      const box = find(".cs-extra");
      try {
        const found = await cs.results.ask(item("/captions"), new URLSearchParams());
        if (card() === one) box.innerHTML = found.html;
      } catch (error) { box.textContent = error.message; }
    } else if (what === "why") {
      cs.dialogs.show("why", { item: one.id, text: new URLSearchParams(cs.results.link).get("q") || "" });
    } else if (what !== "path") {
      await close();
      if (what === "more") cs.search.withItem(one.id, 1);
      else if (what === "less") cs.search.withItem(one.id, -1);
      else if (what === "this") cs.search.byItem(index, one.id);
      else if (what === "map") {
        cs.go(new URLSearchParams([["tab", "map"], ["item", one.id], ...new URLSearchParams(cs.results.link)]));
        window.dispatchEvent(new Event("cs:locate"));
      }
    }
  };
  const searchRegion = async (box) => {
    try {
      const chip = await cs.results.ask(item("/region"), new URLSearchParams({ box: box.map((share) => share.toFixed(4)).join(",") }));
      await close();
      cs.search.byVector(chip, true);
    } catch (error) { find(".cs-extra").textContent = error.message; cs.toast(error.message, "error"); }
  };

  cs.view = { mount: (texts) => { words = texts; }, open, openItem, close, follow, step };
})();
