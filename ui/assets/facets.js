/* The panel of filters: how many images have each value, and what is chosen. It edits the address. */
(() => {
  const WIDE = matchMedia("(min-width: 1100px)");
  const FEW = 8; // values that are shown of a long list
  const CLOSED = ["format", "orientation", "size", "options"]; // sections, until they are opened
  const FILTERS = ["index", "f", "from", "to", "width", "camera", "tag", "where", "ids", "selection"];
  const ARROW = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6l6 6-6 6"/></svg>';
  let root, panel, body, dialog, button, sort, words = {}, data = null, known = "", asking = null;
  const opened = new Set(), whole = new Set();
  let folds = {};
  try { folds = JSON.parse(cs.store.get("cs-folds") || "{}"); } catch { /* as at first */ }
  document.documentElement.toggleAttribute("data-nofacets", cs.store.get("cs-facets") === "0");

  const esc = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const number = (n) => n.toLocaleString(window.csLang);
  const params = () => new URLSearchParams(cs.results.link);
  const isOpen = (name) => folds[name] ?? !CLOSED.includes(name);
  const monthName = (month) => new Date(`${month}-15T12:00`).toLocaleDateString(window.csLang, { month: "long" });
  const shownNow = () => (WIDE.matches ? !document.documentElement.hasAttribute("data-nofacets") : dialog.open);

  /* --- the address --- */
  const kin = (one, other) => {
    const [name, ...value] = one.split(":"), [name2, ...value2] = other.split(":");
    const a = value.join(":"), b = value2.join(":");
    if (name === "folder" && name2 === "folder") return a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
    return a && b && new Set([name, name2, "year", "month"]).size === 2 && (a.startsWith(b) || b.startsWith(a));
  };
  const choose = (field, on) => cs.search.change((asked) => {
    const left = asked.getAll("f").filter((one) => one !== field && !(on && kin(one, field)));
    if (on) left.push(field);
    asked.delete("f");
    for (const one of left) asked.append("f", one);
  });
  const put = (key, value) => { if ((params().get(key) || "") !== value) cs.search.change((asked) => cs.search.set(asked, key, value)); };
  const clear = () => cs.search.change((asked) => {
    for (const key of [...FILTERS.slice(1), "of"]) asked.delete(key);
  });

  /* --- what is asked of the server, after the results --- */
  const ask = async (again) => {
    const list = cs.results.shown;
    if (!list?.commit || !cs.results.isSearch()) return;
    const asked = new URLSearchParams();
    for (const [key, value] of params()) if (FILTERS.includes(key)) asked.append(key, value);
    const now = `${asked}&${list.commit}`;
    if (now === known && !again) { draw(); return; }
    for (const folder of opened) asked.append("open", folder);
    for (const name of whole) asked.append("more", name);
    asking?.abort();
    const mine = asking = new AbortController();
    try {
      data = { ...await cs.results.ask("facets", asked, { signal: mine.signal }), index: list.index };
      known = now;
      draw();
      window.dispatchEvent(new CustomEvent("cs:facets", { detail: data }));
    } catch (error) {
      if (error.name !== "AbortError" && !error.lost && !data) body.textContent = words.failed;
    }
  };

  /* --- how it looks --- */
  const count = (value) => {
    const some = value.of !== null && value.of !== value.n;
    const told = some ? cs.fill(words.of, { n: number(value.n), all: number(value.of) }) : number(value.n);
    return `<span class="cs-facetcount" title="${esc(told)}">${number(value.n)}${some ? `<small> / ${number(value.of)}</small>` : ""}</span>`;
  };
  const row = (value, label = value.label, inner = "", tool = "") => `<li data-label="${esc(label.toLowerCase())}"${value.n || value.on ? "" : ' class="cs-none"'}>
    <div class="cs-facetrow">${tool}<label><input type="checkbox" data-key="f ${esc(value.field)}" data-f="${esc(value.field)}"${value.on ? " checked" : ""}>
    <span class="cs-facetname" title="${esc(label)}">${esc(label)}</span>${count(value)}</label></div>${inner}</li>`;
  const arrow = (key, label, on) => `<button type="button" class="cs-expand" data-expand="${esc(key)}" data-key="x ${esc(key)}" aria-expanded="${on}" aria-label="${esc(cs.fill(words.expand, { name: label }))}">${ARROW}</button>`;
  const NONE = '<span class="cs-expand"></span>';
  const valueOf = (field) => field.split(":").slice(1).join(":");

  /* The first values of a list, and those that are chosen, or all of them with a field to find one. */
  const list = ({ name, values, distinct }, show = row, keep = (value) => value.on) => {
    const long = values.length > FEW + 2 || distinct > values.length, every = whole.has(name);
    const rows = values.filter((value, at) => every || !long || at < FEW || keep(value)).map((value) => show(value)).join("");
    const find = every && values.length > 3 * FEW ? `<input type="search" class="cs-facetfind" data-key="find ${name}" placeholder="${esc(words.find)}" aria-label="${esc(words.find)}">` : "";
    const more = long ? `<button type="button" class="cs-link" data-more="${name}" data-key="more ${name}">${esc(every ? words.less : cs.fill(words.more, { n: number(Math.max(distinct, values.length)) }))}</button>` : "";
    return `${find}<ul>${rows}</ul>${more}`;
  };
  const folders = (values) => `<ul>${values.map((value) => {
    const path = valueOf(value.field), on = opened.has(path), under = data.folders[path];
    const tool = value.below ? arrow(path, value.label, on) : NONE;
    return row(value, value.label, on && under ? folders(under) : "", tool);
  }).join("")}</ul>`;
  const dates = (years, months) => `<div class="cs-dates">${["from", "to"].map((key) => `<label><span>${esc(words[key])}</span>
    <input type="date" data-date="${key}" data-key="date ${key}" value="${day(params().get(key), key)}" min="${data.first?.slice(0, 10) ?? ""}" max="${data.last?.slice(0, 10) ?? ""}"></label>`).join("")}</div>
    ${list(years, (year) => {
    const own = monthsOf(year, months), on = opened.has(year.field);
    const inner = on ? `<ul>${own.map((month) => row(month, monthName(valueOf(month.field)), "", NONE)).join("")}</ul>` : "";
    return row(year, year.label, inner, own.length ? arrow(year.field, year.label, on) : NONE);
  }, (year) => year.on || monthsOf(year, months).some((month) => month.on))}`;
  const monthsOf = (year, months) => months.values.filter((month) => valueOf(year.field) && valueOf(month.field).startsWith(valueOf(year.field)));
  /* A date of a link may be a year or a month alone. */
  const day = (said, key) => {
    const [year, month, rest] = (said || "").slice(0, 10).split("-");
    if (!/^\d{4}$/.test(year)) return "";
    const m = month || (key === "from" ? "01" : "12");
    return `${year}-${m}-${rest || (key === "from" ? "01" : String(new Date(year, m, 0).getDate()).padStart(2, "0"))}`;
  };
  const options = () => {
    const asked = params(), width = Number(asked.get("width") || 0);
    const widths = [...new Set([640, 1024, 1600, 2400, 4000, width])].filter(Boolean).sort((a, b) => a - b);
    const select = (key, label, choices, now) => `<label><span>${esc(label)}</span><select data-set="${key}" data-key="set ${key}">${choices.map(([value, text]) => `<option value="${value}"${value === now ? " selected" : ""}>${esc(text)}</option>`).join("")}</select></label>`;
    return `${data.sizes ? select("width", words.width, [["", words.any], ...widths.map((one) => [String(one), `\u2265 ${number(one)}`])], asked.get("width") || "") : ""}
      ${data.captions ? `${select("target", words.compare, [["", words.images], ["caption", words.captions]], asked.get("target") || "")}
      <label class="cs-check"><input type="checkbox" data-set="hybrid" data-key="set hybrid"${asked.get("hybrid") ? " checked" : ""}><span>${esc(words.hybrid)}</span></label>` : ""}
      <label><span>${esc(words.expression)}</span><input type="text" maxlength="2000" data-set="where" data-key="set where" placeholder="width &gt;= 800" spellcheck="false" value="${esc(asked.get("where") || "")}"></label>`;
  };
  const section = (name, title, inner, on) => `<details data-section="${name}"${isOpen(name) || on ? " open" : ""}><summary data-key="s ${name}">${esc(title)}</summary><div>${inner}</div></details>`;

  const draw = () => {
    if (!data || !body) return;
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    const key = focused?.dataset.key, typing = focused?.matches("input[type=text],input[type=search],input[type=date]") ? focused.value : null;
    const by = Object.fromEntries(data.sections.map((one) => [one.name, one]));
    const parts = [];
    if (data.first || params().get("from") || params().get("to")) parts.push(section("dates", words.dates, dates(by.year, by.month)));
    for (const one of data.sections) {
      if (["year", "month"].includes(one.name)) continue;
      const chosen = one.values.some((value) => value.on);
      if (!chosen && !one.values.some((value) => value.field.includes(":") && (one.distinct > 1 || value.of !== data.all))) continue;
      parts.push(section(one.name, one.title, one.name === "folder" ? folders(one.values) : list(one), chosen));
    }
    parts.push(section("options", words.options, options()));
    const asked = params(), filtered = FILTERS.slice(1).some((name) => asked.has(name));
    const told = filtered ? cs.fill(words.of, { n: number(data.items), all: number(data.all) }) : cs.fill(words.all, { n: number(data.all) });
    body.innerHTML = `<div class="cs-facethead"><p role="status">${esc(told)}</p>${filtered ? `<button type="button" class="cs-link" data-unfiltered data-key="clear">${esc(words.clear)}</button>` : ""}</div>
      ${parts.join("")}<button type="button" class="cs-button cs-primary cs-facetdone">${esc(words.done)}</button>`;
    const again = key && [...body.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
    if (again) {
      if (typing !== null) again.value = typing;
      again.focus({ preventScroll: true });
    }
    button?.setAttribute("aria-expanded", shownNow());
  };

  /* --- what a person does --- */
  const toggle = (on = !shownNow()) => {
    if (WIDE.matches) {
      document.documentElement.toggleAttribute("data-nofacets", !on);
      cs.store.set("cs-facets", on ? "1" : "0");
    } else if (on) { document.body.append(dialog); dialog.append(body); dialog.showModal(); document.getElementById("cs-tabs").toggleAttribute("data-filtering", true); } else dialog.close();
    button.setAttribute("aria-expanded", on);
    if (on) ask();
  };
  /* On a phone the order and the size of the images are chosen in the drawer. */
  const PHONE = matchMedia("(max-width: 760px)");
  const placeTools = () => {
    const tools = root.querySelector(".cs-tools"), size = root.querySelector(".cs-size");
    if (PHONE.matches) dialog.prepend(sort, size);
    else { tools.prepend(sort); tools.append(size); }
  };
  const home = () => { panel.append(body); button?.setAttribute("aria-expanded", shownNow()); };
  const click = (event) => {
    const fold = event.target.closest("summary")?.parentElement;
    if (fold) {
      folds[fold.dataset.section] = !fold.open;
      cs.store.set("cs-folds", JSON.stringify(folds));
    }
    const target = event.target.closest("button");
    if (!target) return;
    if (target.dataset.expand) {
      const key = target.dataset.expand;
      if (!opened.delete(key)) opened.add(key);
      if (!opened.has(key) || data.folders[key] || key.startsWith("year:")) draw();
      else ask(true);
    } else if (target.dataset.more) {
      const name = target.dataset.more;
      if (!whole.delete(name)) whole.add(name);
      const one = data.sections.find((section_) => section_.name === name);
      if (whole.has(name) && one.distinct > one.values.filter((value) => value.field.includes(":")).length) ask(true);
      else draw();
    } else if (target.matches("[data-unfiltered]")) clear();
    else if (target.matches(".cs-facetdone")) dialog.close();
  };
  let late = 0;
  const changed = (event) => {
    event.stopPropagation();
    const target = event.target;
    if (target.dataset.f) choose(target.dataset.f, target.checked);
    else if (target.dataset.date) {
      clearTimeout(late); // while a year is being typed, each digit makes another date
      late = setTimeout(() => { if (!target.value || target.value >= "1000") put(target.dataset.date, target.value); }, 500);
    } else if (target.dataset.set) put(target.dataset.set, target.type === "checkbox" ? (target.checked ? "1" : "") : target.value.trim());
  };
  const find = (event) => {
    event.stopPropagation();
    if (!event.target.matches(".cs-facetfind")) return;
    const wanted = event.target.value.trim().toLowerCase();
    for (const item of event.target.nextElementSibling.children) item.hidden = !item.dataset.label.includes(wanted);
  };

  const mount = (element, texts) => {
    root = element;
    words = Object.fromEntries(Object.entries(texts).filter(([key]) => key.startsWith("facet.")).map(([key, text]) => [key.slice(6), text]));
    panel = root.querySelector("#cs-facets");
    body = panel.querySelector(".cs-facetbody");
    button = root.querySelector("[data-panel=filters]");
    dialog = Object.assign(document.createElement("dialog"), { className: "cs-drawer" });
    dialog.setAttribute("aria-label", panel.getAttribute("aria-label"));
    dialog.addEventListener("close", home);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    WIDE.addEventListener("change", () => { if (dialog.open) dialog.close(); else home(); if (shownNow()) ask(); });
    body.addEventListener("click", click);
    body.addEventListener("change", changed);
    body.addEventListener("input", find);
    body.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.dataset.set === "where") put("where", event.target.value.trim()); });
    button.setAttribute("aria-expanded", shownNow());
    sort = root.querySelector(".cs-sort");
    const orders = sort.querySelector("select");
    orders.addEventListener("change", (event) => { event.stopPropagation(); put("sort", orders.value); });
    placeTools();
    PHONE.addEventListener("change", placeTools);
    window.addEventListener("cs:shown", () => {
      const { asked, link, index } = cs.results.shown;
      orders.options[0].textContent = asked ? words.best : words.newest;
      orders.options[1].hidden = !asked;
      orders.value = new URLSearchParams(link).get("sort") || "";
      if (!asked && orders.value === "newest") orders.value = "";
      if (data && data.index !== index) { opened.clear(); whole.clear(); data = null; body.replaceChildren(); }
      setTimeout(ask, 0);
    });
  };

  cs.facets = { mount, toggle, get data() { return data; } };
})();
