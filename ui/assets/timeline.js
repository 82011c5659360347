/* The years and months of a list by date, at the right edge: a click or a drag goes there. */
(() => {
  const ROOM = 26; // pixels between the names of two years
  let root, bar, words = {}, months = [], total = 0, list = null, hide = 0, dragging = false, wanted = null, goal = 0, stop = null;

  const nameOf = (month, short) => {
    if (!month) return words.undated;
    return new Date(`${month}-15T12:00`).toLocaleDateString(window.csLang, { month: short ? "short" : "long", year: "numeric" });
  };
  const isByDate = (shown) => shown?.cards && !shown.asked && ["", "newest", "oldest", null].includes(new URLSearchParams(shown.link).get("sort"));

  /* Where each month begins: its place among the results. */
  const build = () => {
    const data = cs.facets.data;
    list = cs.results.shown;
    bar.hidden = true;
    if (!isByDate(list) || !data || data.index !== list.index) return;
    const dated = data.months.filter(([month]) => month);
    const undated = data.months.filter(([month]) => !month);
    if (new URLSearchParams(list.link).get("sort") === "oldest") dated.reverse();
    total = 0;
    months = [...dated, ...undated].map(([month, n]) => { total += n; return { month, at: total - n, n }; });
    if (!dated.length || months.length < 2 || total <= cs.results.PAGE) return;
    bar.hidden = false;
    draw();
    follow();
  };
  const draw = () => {
    const height = bar.clientHeight;
    let last = -ROOM, year = null;
    const marks = [];
    for (const one of months) {
      const now = one.month?.slice(0, 4) ?? words.undated;
      const y = (one.at / total) * height;
      if (now !== year && y - last >= ROOM) {
        marks.push(`<span class="cs-year" style="top:${y}px">${now}</span>`);
        last = y;
      } else if (y - last > 7) marks.push(`<span class="cs-month" style="top:${y}px"></span>`);
      year = now;
    }
    bar.querySelector(".cs-marks").innerHTML = marks.join("");
  };
  const monthAt = (place) => {
    let found = 0;
    for (let i = 0; i < months.length && months[i].at <= place; i++) found = i;
    return found;
  };
  /* The label stands where the reader is. */
  const point = (place) => {
    const at = monthAt(place);
    const thumb = bar.querySelector(".cs-now");
    thumb.style.top = `${Math.min(1, place / total) * bar.clientHeight}px`;
    thumb.querySelector("span").textContent = nameOf(months[at].month, true);
    bar.setAttribute("aria-valuemax", months.length - 1);
    bar.setAttribute("aria-valuenow", at);
    bar.setAttribute("aria-valuetext", nameOf(months[at].month));
    return at;
  };
  const follow = () => {
    if (bar.hidden || dragging || goal) return;
    if (stop && Math.abs(scrollY - stop.y) > 1) stop = null;
    point(stop ? stop.place : scrollY < 4 ? 0 : cs.grid.seen()); // the last month cannot come to the top
  };
  const show = () => {
    bar.classList.add("cs-moving");
    clearTimeout(hide);
    hide = setTimeout(() => { if (!dragging) bar.classList.remove("cs-moving"); }, 1400);
  };

  /* Go to a result, however far: the proportions up to it are asked for first. */
  const go = async (place) => {
    const mine = list;
    wanted = Math.max(0, Math.min(total - 1, Math.round(place)));
    if (goal) return; // the one under way sees it
    goal = 1;
    try {
      while (mine === cs.results.shown && mine.ratios.length <= wanted + cs.results.PAGE && mine.more) {
        if (!await cs.results.grow(mine)) break;
        cs.grid.relayout();
      }
      if (mine === cs.results.shown) {
        cs.grid.scrollToPlace(Math.min(wanted, mine.ratios.length - 1));
        stop = { place: wanted, y: scrollY };
      }
    } catch (error) { if (!error.lost) cs.grid.notice(error.message); } finally { goal = 0; }
  };
  const placeAt = (y) => ((y - bar.getBoundingClientRect().top) / bar.clientHeight) * total;
  const drag = (event) => {
    const place = Math.max(0, Math.min(total - 1, placeAt(event.clientY)));
    point(place);
    show();
    if (place + cs.results.PAGE < list.ratios.length || !list.more) go(place);
    else wanted = place;
  };

  const key = (event) => {
    const at = Number(bar.getAttribute("aria-valuenow"));
    const year = months[at].month?.slice(0, 4);
    const yearAt = (step) => {
      let i = at;
      while (i + step >= 0 && i + step < months.length && months[i].month?.slice(0, 4) === year) i += step;
      if (step < 0) while (i > 0 && months[i - 1].month?.slice(0, 4) === months[i].month?.slice(0, 4)) i -= 1;
      return i;
    };
    const to = { ArrowDown: () => at + 1, ArrowRight: () => at + 1, ArrowUp: () => at - 1, ArrowLeft: () => at - 1, PageDown: () => yearAt(1), PageUp: () => yearAt(-1), Home: () => 0, End: () => months.length - 1 }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    const next = months[Math.max(0, Math.min(months.length - 1, to))];
    point(next.at);
    show();
    go(next.at);
  };

  const mount = (element, texts) => {
    root = element;
    words = { undated: texts["facet.undated"] };
    bar = root.querySelector("#cs-timeline");
    Object.entries({ role: "slider", tabindex: "0", "aria-orientation": "vertical", "aria-label": texts["facet.timeline"], "aria-valuemin": "0" }).forEach(([name, value]) => bar.setAttribute(name, value));
    bar.innerHTML = '<div class="cs-marks" aria-hidden="true"></div><div class="cs-now" aria-hidden="true"><span></span></div><div class="cs-hovered" aria-hidden="true"></div>';
    bar.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      dragging = true;
      bar.setPointerCapture(event.pointerId);
      drag(event);
    });
    bar.addEventListener("pointermove", (event) => {
      if (dragging) { drag(event); return; }
      const place = Math.max(0, Math.min(total - 1, placeAt(event.clientY)));
      bar.querySelector(".cs-hovered").textContent = nameOf(months[monthAt(place)].month, true);
      bar.querySelector(".cs-hovered").style.top = `${event.clientY - bar.getBoundingClientRect().top}px`;
    });
    for (const type of ["pointerup", "pointercancel"]) bar.addEventListener(type, () => {
      if (!dragging) return;
      dragging = false;
      go(wanted);
      show();
    });
    bar.addEventListener("keydown", key);
    addEventListener("scroll", () => { if (!bar.hidden) { follow(); show(); } }, { passive: true });
    addEventListener("resize", () => { if (!bar.hidden) { draw(); follow(); } });
    addEventListener("cs:shown", () => setTimeout(build, 0));
    addEventListener("cs:facets", build);
  };

  cs.timeline = { mount };
})();
