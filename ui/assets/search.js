/* How a search is changed: what is typed, chosen, voted, dropped or dragged becomes the address. */
(() => {
  const kept = "cs-images"; // names and small copies of images that the visitor gave, by their value
  let root = null, given = {};
  try { given = JSON.parse(sessionStorage.getItem(kept) || "{}"); } catch { /* none */ }
  const labelOf = (value) => given[value]?.label ?? "";
  const keep = (value, label, thumb) => {
    given[value] = { label, thumb };
    try { sessionStorage.setItem(kept, JSON.stringify(given)); } catch { given = { [value]: given[value] }; }
  };

  /* Letters of the image that each id meant, for a backup that is put back gives ids again. */
  const LETTERS = 5;
  const meant = new Map();
  const idsOf = (params) => [...params.getAll("up"), ...params.getAll("down"),
    ...params.getAll("c").map((chip) => chip.split(":")).filter((chip) => chip[1] === "i").map((chip) => chip[2]),
    ...(params.get("ids") || "").split("-").filter(Boolean)];
  const learn = (params) => {
    const ids = idsOf(params), of = params.get("of") || "", index = params.get("index");
    if (of.length === LETTERS * ids.length) ids.forEach((id, at) => {
      const letters = of.slice(LETTERS * at, LETTERS * (at + 1));
      if (!letters.startsWith("-")) meant.set(`${index}:${id}`, letters);
    });
    for (const card of cs.results.shown?.cards ?? []) if (card) meant.set(`${cs.results.shown.index}:${card.id}`, card.meant);
  };
  const say = (params) => {
    const index = params.get("index");
    const of = idsOf(params).map((id) => meant.get(`${index}:${id}`) ?? "-".repeat(LETTERS)).join("");
    if (of.replaceAll("-", "")) params.set("of", of);
    else params.delete("of");
  };

  const change = (edit, how) => {
    const params = new URLSearchParams(cs.results.link);
    learn(params);
    edit(params);
    say(params);
    return cs.results.open(params.toString(), { push: true, ...how });
  };
  const set = (params, key, value) => { if (value) params.set(key, value); else params.delete(key); };
  const chipsOf = (params) => params.getAll("c");
  const setChips = (params, chips) => {
    params.delete("c");
    for (const chip of chips) params.append("c", chip);
  };
  /* Refine where the reader is: the new results come to the place that is in sight. */
  const stay = () => ({ stay: true, keep: cs.grid.anchor() });

  /* Another text; votes are about the text that was there. */
  const ask = (text) => change((params) => {
    const query = text.trim().slice(0, 500);
    if (query !== (params.get("q") || "")) { params.delete("up"); params.delete("down"); }
    set(params, "index", cs.header.index());
    set(params, "q", query);
  });
  /* Another collection: no filters, and nothing that names items of this one. */
  const choose = (index) => {
    const before = new URLSearchParams(cs.results.link);
    const params = new URLSearchParams({ index });
    set(params, "q", before.get("q"));
    setChips(params, chipsOf(before).filter((chip) => chip.split(":")[1] !== "i"));
    cs.results.open(params.toString(), { push: true, fill: true });
  };
  const vote = (id, way) => change((params) => {
    const marks = { up: params.getAll("up"), down: params.getAll("down") };
    const had = marks[way].includes(id);
    for (const name of ["up", "down"]) {
      params.delete(name);
      const left = marks[name].filter((other) => other !== id);
      if (name === way && !had) left.push(id);
      for (const other of left) params.append(name, other);
    }
  }, stay());
  const withItem = (id, weight) => change((params) => {
    setChips(params, [...chipsOf(params).filter((chip) => chip.split(":").slice(1).join(":") !== `i:${id}`), `${weight}:i:${id}`]);
  }, stay());
  const byItem = (index, id) => cs.results.open(new URLSearchParams({ index, c: `1:i:${id}` }).toString(), { push: true, fill: true });
  const byVector = (chip, alone) => {
    keep(chip.value, chip.label, chip.thumb);
    const index = cs.header.index();
    if (alone) return cs.results.open(new URLSearchParams({ index, c: `1:v:${chip.value}` }).toString(), { push: true, fill: true });
    return change((params) => setChips(params, [...chipsOf(params), `1:v:${chip.value}`]));
  };
  const byPicture = async (picture) => {
    cs.grid.busy(true);
    try {
      const body = JSON.stringify({ index: cs.header.index(), ...picture });
      await byVector(await cs.results.ask("image", new URLSearchParams(), { method: "POST", body }));
    } catch (error) {
      if (!error.lost && cs.results.isSearch()) cs.grid.notice(error.message);
      else if (!error.lost) cs.toast(error.message, "error");
    } finally { cs.grid.busy(false); }
  };

  const place = (node) => Number(node.closest(".cs-chip").dataset.place);
  const weigh = (at, weight) => change((params) => {
    const chips = chipsOf(params);
    const [, ...rest] = (chips[at] || "").split(":");
    if (rest.length && weight) chips[at] = [weight, ...rest].join(":");
    setChips(params, chips);
  });
  const add = (sign) => {
    const field = root.querySelector(".cs-addchip input");
    const text = field.value.trim().slice(0, 300);
    if (text) change((params) => setChips(params, [...chipsOf(params), `${sign}:t:${text}`]));
    else field.focus();
  };
  const clear = () => {
    const index = new URLSearchParams(cs.results.link).get("index");
    cs.results.open(new URLSearchParams(index ? { index } : {}).toString(), { push: true, fill: true });
  };
  /* All values of a field but one; what the address says in another form, such as ids, goes whole. */
  const without = (key, value) => change((params) => {
    const left = params.getAll(key).filter((one) => one !== value && params.getAll(key).length > 1);
    params.delete(key);
    for (const one of left) params.append(key, one);
  });
  /* How many of the images a least score leaves, and that score. */
  let moving = 0;
  const tellLeast = (slider) => {
    const counts = slider.dataset.counts.split(" ").map(Number), low = Number(slider.dataset.low), bar = Number(slider.dataset.bar);
    const all = counts.reduce((sum, count) => sum + count, 0) || 1;
    const left = counts.reduce((sum, count, place) => sum + (low + (place + 0.5) * bar >= Number(slider.value) ? count : 0), 0);
    const [share, figure] = root.querySelectorAll("#cs-relevance output span");
    share.textContent = `\u2248 ${((100 * left) / all).toLocaleString(window.csLang, { maximumSignificantDigits: 2 })} %`;
    figure.textContent = ` \u2265 ${Number(slider.value).toFixed(2)}`;
  };
  const least = (value) => change((params) => set(params, "min", value));
  const weightOf = (chip) => Number(chip.querySelector("input").value) || 1;
  const click = (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches("[data-plus]")) add(1);
    else if (button.matches("[data-minus]")) add(-1);
    else if (button.matches("[data-clear]")) clear();
    else if (button.matches("[data-unfilter]")) without(button.dataset.unfilter, button.dataset.value);
    else if (button.matches("[data-remove]")) {
      const at = place(button);
      change((params) => setChips(params, chipsOf(params).filter((_, other) => other !== at)));
    } else if (button.matches("[data-flip]")) {
      const chip = button.closest(".cs-chip");
      weigh(place(button), (chip.classList.contains("cs-plus") ? -1 : 1) * weightOf(chip));
    } else if (button.matches("[data-undo]")) change((params) => { params.delete("up"); params.delete("down"); }, stay());
    else if (button.matches("[data-auto]")) least(button.getAttribute("aria-pressed") === "true" ? "" : "auto");
    else if (button.matches("[data-off]")) least("");
  };
  const mount = (element) => {
    root = element;
    root.addEventListener("click", click);
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches(".cs-addchip input")) return;
      event.preventDefault();
      const minus = /^\s*[-\u2212]/.test(event.target.value);
      if (minus) event.target.value = event.target.value.replace(/^\s*[-\u2212]\s*/, "");
      add(minus ? -1 : 1);
    });
    root.addEventListener("input", (event) => {
      event.stopPropagation();
      if (event.target.id === "cs-least") tellLeast(event.target);
    });
    root.addEventListener("change", (event) => {
      event.stopPropagation();
      if (event.target.id === "cs-least") {
        const { value } = event.target;
        clearTimeout(moving); // a key that is held moves it many steps
        moving = setTimeout(() => least(value), 250);
      }
      else if (event.target.matches(".cs-chip input")) {
        const chip = event.target.closest(".cs-chip");
        weigh(place(event.target), (chip.classList.contains("cs-plus") ? 1 : -1) * Math.max(0.1, Number(event.target.value) || 1));
      }
    });
  };
  const dressChips = (box) => box.querySelectorAll('.cs-chip[data-kind="vector"]').forEach((chip) => {
    const thumb = given[chip.dataset.value]?.thumb;
    if (thumb) chip.querySelector(".cs-label").before(Object.assign(document.createElement("img"), { src: thumb, alt: "" }));
  });
  /* Relevance and the lines to copy lie behind buttons. */
  const panel = (button, on = button.getAttribute("aria-expanded") !== "true") => {
    button.setAttribute("aria-expanded", on);
    const box = document.getElementById(button.getAttribute("aria-controls"));
    box.hidden = !on;
  };

  cs.search = { ask, choose, change, set, vote, withItem, byItem, byVector, byPicture, labelOf, dressChips, mount, panel, filled: () => { cs.restoreTyped(); return []; } };
})();
