/* What a search found: asked of the server part by part, kept for Back and reload. */
(() => {
  const PAGE = 60;
  const KEPT = 8; // lists that are remembered
  const NEAR = 240; // cards on either side of what was seen that a reload brings back
  const lists = new Map();
  const name = "cs-lists";
  let shown = null, asking = null, latest = null, restoring = false, left = false;

  const keyOf = cs.searchOf;
  const isSearch = () => cs.at().tab === "search";

  /* An answer of one of the page's own routes. */
  const ask = async (path, params, options = {}) => {
    params.set("lang", window.csLang);
    let answer;
    try { answer = await fetch(`page/${path}?${params}`, options); } catch (error) {
      if (error.name !== "AbortError") { cs.lose(); error.lost = true; }
      throw error;
    }
    if (answer.status >= 502) { cs.lose(); throw Object.assign(new Error(), { lost: true }); } // a proxy's
    if (answer.status === 401) location.reload(); // asks for the token
    let data = {};
    try { data = await answer.json(); } catch (error) { if (error.name === "AbortError") throw error; }
    if (!answer.ok || data.problem) throw new Error(data.problem || cs.words.failed);
    return data;
  };

  const named = (link) => {
    const params = new URLSearchParams(link);
    const labels = params.getAll("c").map((chip) => cs.search.labelOf(chip.split(":").slice(2).join(":")));
    if (labels.some(Boolean)) labels.forEach((label) => params.append("n", label));
    return params;
  };
  const part = (list, path, offset, signal) => {
    const params = named(list.link);
    params.set("offset", offset);
    return ask(path, params, { signal });
  };

  const first = async (link, signal) => {
    return ready(await ask("results", named(link), { signal }));
  };
  const ready = (list) => {
    list.more = !!list.ratios && list.ratios.length !== list.total;
    list.loading = new Map();
    return list;
  };

  /* More proportions; true if there were any. */
  const grow = async (list, signal) => {
    if (!list.more) return false;
    list.growing ||= part(list, "shapes", list.ratios.length, signal).then((data) => {
      if (!data.ratios || data.commit !== list.commit) { list.more = false; return false; }
      list.ratios.push(...data.ratios);
      list.more = data.more;
      if (!data.more) list.total = list.ratios.length;
      if (list.above === null) list.above = data.above;
      return true;
    }).finally(() => { list.growing = null; });
    return list.growing;
  };

  /* The cards of some places, which are loaded by pages; those that were only `passing` and are
     asked for no more are given up. */
  const load = (list, from, to, signal, passing = false) => {
    const pages = [];
    for (let page = Math.floor(from / PAGE); page * PAGE < to; page++) pages.push(page);
    for (const [page, loading] of list.loading) {
      if (passing && loading.passing && !pages.includes(page)) loading.stop.abort();
    }
    return Promise.all(pages.map((page) => {
      if (list.cards[page * PAGE]) return null;
      const under = list.loading.get(page);
      if (under) { under.passing &&= passing; return under.done; }
      const stop = new AbortController();
      signal?.addEventListener("abort", () => stop.abort());
      const done = part(list, "results", page * PAGE, stop.signal).then((data) => {
        if (data.commit !== list.commit) { if (list === shown) again(); return; }
        data.cards.forEach((card, place) => { list.cards[page * PAGE + place] = card; });
      }).catch((error) => { if (error.name !== "AbortError" && !error.lost && list === shown) cs.grid.notice(error.message); })
        .finally(() => list.loading.delete(page));
      list.loading.set(page, { stop, done, passing });
      return done;
    }));
  };

  /* Everything that is needed to show a list where it was left. */
  const reach = async (list, anchor, signal) => {
    while (list.ratios.length <= anchor.i + PAGE && await grow(list, signal));
    const from = Math.max(0, Math.min(anchor.i, list.ratios.length - 1) - PAGE);
    await load(list, from, Math.min(list.ratios.length, from + 3 * PAGE), signal);
  };

  /* Search; how: {push, replace, keep: an anchor to stay at, focus, fill}. */
  const open = async (link, how = {}) => {
    if (!isSearch()) { elsewhere(link); return; }
    asking?.abort();
    const mine = asking = new AbortController();
    latest = link;
    cs.grid.busy(true);
    try {
      const list = await (early.get(link) ?? first(link, mine.signal));
      if (list.cards && how.keep?.i > 0) await reach(list, how.keep, mine.signal);
      if (!mine.signal.aborted) arrived(list, how);
    } catch (error) {
      if (mine.signal.aborted) return;
      latest = shown?.link ?? null;
      if (!error.lost) cs.grid.notice(error.message);
    } finally {
      early.delete(link);
      if (asking === mine) { asking = null; cs.grid.busy(false); }
    }
  };

  /* A search that is asked for in another tab: the map shows where it fits, others leave it to Photos. */
  const elsewhere = (link) => {
    const asks = (search) => ["q", "c", "up", "down"].map((field) => new URLSearchParams(search).getAll(field).join()).join("\n");
    const fresh = asks(link) !== asks(location.search);
    if (fresh && cs.at().tab !== "map") { cs.go(link); return; }
    cs.aim(link);
    if (fresh) cs.own("by", asks(link).trim() && "score");
    else cs.navigate();
  };

  const arrived = (list, how) => {
    if (list.kind === "error" || (list.kind === "waiting" && shown?.cards)) {
      cs.grid.notice(list.notice, true);
      if (!shown) cs.grid.around(list);
      if (list.kind === "error" && shown) latest = shown.link;
      return;
    }
    show(list, how);
  };

  const show = (list, how = {}) => {
    if (shown && how.push) remember();
    shown = list;
    latest = list.link;
    if (list.cards) {
      lists.delete(list.link);
      lists.set(list.link, list);
      while (lists.size > KEPT) lists.delete(lists.keys().next().value);
    }
    if (isSearch() && !how.still) cs.aim(list.link, !how.push);
    cs.grid.show(list, how);
    cs.header.known(list.indexes);
    cs.header.fill();
    window.dispatchEvent(new Event("cs:shown"));
    if (how.push) remember();
    if (how.fill) window.dispatchEvent(new Event("cs:fill"));
    if (list.more) setTimeout(() => { if (shown === list) grow(list).then((any) => any && cs.grid.relayout(), () => {}); }, 400);
  };

  /* Where the reader is becomes part of this entry of the history. */
  const remember = () => {
    if (!shown?.cards || restoring || !isSearch() || !cs.grid.visible() || keyOf(location.search) !== shown.link) return;
    shown.anchor = cs.grid.anchor();
    history.replaceState({ ...history.state, anchor: shown.anchor }, "");
  };

  /* The same search again, of an index that has changed, or one that waits. */
  const again = () => open(latest ?? keyOf(location.search), { keep: shown?.cards && cs.grid.anchor(), replace: true });

  /* What the address names, as Back, Forward, a reload or a link ask for it. */
  const visit = (check) => {
    if (!isSearch()) { latest = null; left = true; return; } // the address says which search it is
    const back = left;
    left = false;
    if (cs.at().dialog && shown) return; // it lies over them
    const asked = keyOf(location.search);
    const kept = lists.get(asked);
    const anchor = history.state?.anchor ?? (back ? kept?.anchor : undefined);
    if (shown && shown.link === asked && !asking && !back) return;
    if (!kept) { open(asked, { keep: anchor }); return; }
    asking?.abort();
    cs.grid.busy(false);
    show(kept, { keep: anchor || { i: 0, dy: 0 }, still: true });
    if (check) first(asked).then((list) => {
      if (shown === kept && list.commit && list.commit !== kept.commit) again();
    }, () => {});
  };

  const packed = () => JSON.stringify([...lists.values()].map((list) => {
    const at = list.seen ?? 0;
    const cards = [];
    for (let i = Math.max(0, at - NEAR); i < Math.min(list.cards.length, at + NEAR); i++) {
      if (list.cards[i]) cards.push([i, list.cards[i]]);
    }
    return { ...list, cards, loading: undefined, growing: undefined };
  }));
  window.addEventListener("pagehide", () => {
    remember();
    try { sessionStorage.setItem(name, packed()); } catch { try { sessionStorage.removeItem(name); } catch { /* none */ } }
  });
  const unpack = () => {
    try {
      for (const list of JSON.parse(sessionStorage.getItem(name) || "[]")) {
        const cards = [];
        for (const [i, card] of list.cards) cards[i] = card;
        lists.set(list.link, { ...list, cards, loading: new Map() });
      }
    } catch { /* nothing is kept */ }
  };

  const start = () => {
    history.scrollRestoration = "manual";
    visit(true);
    window.addEventListener("popstate", () => { restoring = true; visit(true); restoring = false; cs.view.follow(); });
    window.addEventListener("cs:navigate", () => visit(true));
    cs.view.follow();
  };

  /* What the address names comes with the page itself, unless it takes long. */
  const early = new Map();
  unpack();
  if (isSearch() && !lists.has(keyOf(location.search))) {
    const link = keyOf(location.search);
    const begun = named(link).has("n") ? first(link) // the server does not know names of given images
      : window.csStart.then((start) => (start?.first ? ready(start.first) : first(link)));
    begun.catch(() => {});
    early.set(link, begun);
  }

  cs.results = {
    PAGE, ask, open, start, again, grow, load, remember, isSearch,
    get shown() { return shown; },
    get link() { return latest ?? keyOf(location.search); },
  };
})();
