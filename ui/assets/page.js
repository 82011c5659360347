/* What the whole page does: theme, language, images given by the visitor, a lost server. */
(() => {
  const words = window.csWords;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  document.documentElement.lang = window.csLang;

  const store = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };
  const setDark = (dark) => {
    document.body.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  };
  const wanted = new URLSearchParams(location.search).get("__theme") || store.get("cs-theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => setDark(wanted ? wanted === "dark" : systemDark.matches);
  document.addEventListener("DOMContentLoaded", applyTheme);

  const toast = (text, kind) => {
    let box = document.getElementById("cs-toast");
    if (!box) {
      box = document.createElement("div");
      box.id = "cs-toast";
      box.setAttribute("role", "status");
      document.body.append(box);
    }
    box.textContent = text;
    box.className = `cs-toast-on cs-${kind || "info"}`;
    clearTimeout(box.timer);
    if (kind !== "lost") box.timer = setTimeout(() => { box.className = ""; }, 2200);
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("[data-cs-theme],[data-cs-lang],[data-copy],[data-copy-link]");
    if (!target) return;
    if (target.matches("[data-cs-theme]")) {
      const dark = !document.body.classList.contains("dark");
      setDark(dark);
      store.set("cs-theme", dark ? "dark" : "light");
    } else if (target.matches("[data-cs-lang]")) {
      event.preventDefault();
      const params = new URLSearchParams(location.search);
      params.set("lang", target.dataset.csLang);
      location.search = params.toString();
    } else {
      copy(target.matches("[data-copy]") ? target.dataset.copy : location.href);
    }
  });
  const copy = (text) => {
    const done = () => toast(words.copied);
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => byHand(text, done));
    else byHand(text, done);
  };
  const byHand = (text, done) => {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
  };

  /* Large pictures are reduced here: faster to send, and no more of them leaves than is needed. */
  const SIDE = 1280, SMALL = 640; // pixels; the second of many at once
  const MANY = 24, REMEMBERED = 200;
  let count = 0;
  const asUrl = (blob) => new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = reject;
    reader.readAsDataURL(blob);
  });
  const given = []; // the last ones, for what is asked of them later
  const readPicture = async (file, side = SIDE) => {
    const picture = await reduced(file, side);
    if (picture) {
      picture.key = `${Date.now().toString(36)}-${(count += 1)}`;
      given.push(picture);
      if (given.length > REMEMBERED) given.shift();
    }
    return picture;
  };
  const reduced = async (file, side) => {
    try {
      const bitmap = await createImageBitmap(file);
      const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
      if (scale === 1 && file.size < 2e6) return { name: file.name, data: await asUrl(file) };
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      return { name: file.name, data: canvas.toDataURL("image/jpeg", 0.92) };
    } catch {
      if (file.size > 12e6) return null; // the server may know a format that the browser does not
      return { name: file.name, data: await asUrl(file) };
    }
  };
  /* Makes an element accept pictures by choosing, dropping, and pasting when it may. */
  const pictures = (element, most, give, when) => {
    const take = async (files) => {
      const chosen = [...files].slice(0, most);
      if (files.length > most) toast(fill(words.too_many, { n: most }), "error");
      const zone = element.querySelector(".cs-drop");
      zone?.classList.add("cs-busy");
      const read = [];
      for (const file of chosen) {
        const picture = await readPicture(file, chosen.length > MANY ? SMALL : SIDE);
        if (picture) read.push(picture);
        else toast(fill(words.unreadable, { name: file.name }), "error");
      }
      zone?.classList.remove("cs-busy");
      if (read.length) give(read);
    };
    element.addEventListener("change", (event) => {
      if (!event.target.matches("input[type=file]")) return;
      event.stopPropagation();
      take(event.target.files);
      event.target.value = "";
    });
    for (const type of ["dragenter", "dragover"]) element.addEventListener(type, (event) => {
      event.preventDefault();
      element.querySelector(".cs-drop")?.classList.add("cs-over");
    });
    for (const type of ["dragleave", "drop"]) element.addEventListener(type, () =>
      element.querySelector(".cs-drop")?.classList.remove("cs-over"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      const files = [...event.dataTransfer.files].filter((file) => file.type.startsWith("image/") || !file.type);
      if (files.length) take(files);
    });
    window.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
      const top = [...document.querySelectorAll("dialog[open]")].pop();
      if (files.length && element.offsetParent && (!top || top.contains(element)) && (!when || when())) take(files);
    });
  };
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());

  /* A lost server: say so, try until it is back, then load the page again where it was. */
  let lost = false;
  const lose = () => {
    if (lost) return;
    lost = true;
    document.body.classList.add("cs-lost");
    toast(words.lost, "lost");
    const again = async () => {
      try {
        const answer = await plain(new URL("config", document.baseURI), { cache: "no-store" });
        if (answer.status >= 500) throw new Error(answer.statusText);
        toast(words.back);
        stash();
        location.reload();
      } catch { setTimeout(again, 1500); }
    };
    setTimeout(again, 1500);
  };
  /* A proxy answers for a server that is gone. A server forgets visitors that were away for long, or
     whose token ran out: loaded again, the page shows what its address says, or asks for the token. */
  /* What was typed is there again after that. */
  const TYPED = "cs-typed";
  const fieldsOf = () => [...document.querySelectorAll("textarea, input[type=search], input[type=text]:not([role=listbox])")];
  const nameOf = (field, all) => `${field.closest("[id]")?.id}:${field.getAttribute("aria-label") || ""}:${all.filter((one) => one.closest("[id]") === field.closest("[id]")).indexOf(field)}`;
  const stash = () => {
    const all = fieldsOf();
    const typed = all.filter((field) => field.value).map((field) => [nameOf(field, all), field.value]);
    try { sessionStorage.setItem(TYPED, JSON.stringify(typed)); } catch { /* it is lost */ }
  };
  const restoreTyped = () => {
    let typed = [];
    try {
      typed = JSON.parse(sessionStorage.getItem(TYPED) || "[]");
    } catch { return; }
    const all = fieldsOf();
    const later = []; // of tabs that are not there yet
    for (const [name, value] of typed) {
      const field = all.find((one) => nameOf(one, all) === name);
      if (!field) { later.push([name, value]); continue; }
      if (field.value === value) continue;
      field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (later.length < typed.length) sessionStorage.setItem(TYPED, JSON.stringify(later));
  };
  const plain = window.fetch.bind(window);
  let known = false;
  window.fetch = async (...given) => {
    const url = String(given[0]?.url || given[0]);
    const before = known;
    try {
      const answer = await plain(...given);
      if (!url.includes("gradio_api/run")) return answer;
      if (answer.status >= 502) lose();
      const forgotten = before && answer.headers.get("x-clipsearch-session") === "new";
      if (answer.status === 401 || forgotten) location.reload();
      known = known || answer.ok;
      return answer;
    } catch (error) {
      if (error?.name !== "AbortError" && url.includes("gradio_api")) {
        try { await plain(new URL("config", document.baseURI), { cache: "no-store" }); }
        catch { lose(); return new Promise(() => {}); } // said once, and not by Gradio as well
      }
      throw error;
    }
  };
  let leaving = false;
  window.addEventListener("pagehide", () => { leaving = true; });
  setInterval(() => {
    if (lost || leaving || document.hidden) return;
    plain(new URL("robots.txt", document.baseURI), { cache: "no-store" })
      .then((answer) => { if (answer.status >= 502) lose(); })
      .catch(() => { if (!leaving) lose(); });
  }, 15000);

  /* A screen that waits for something asks again until another takes its place. */
  const waits = (element, ask) => {
    const wait = Number(element.querySelector(".cs-screen")?.dataset.retry || 0);
    if (element.csWaiting || !wait) return;
    element.csWaiting = setInterval(() => {
      if (element.querySelector(".cs-screen[data-retry]:not([data-retry='0'])")) ask();
      else { clearInterval(element.csWaiting); element.csWaiting = 0; }
    }, wait);
  };

  window.cs = { waits, pictures, readPicture, given, toast, copy, words, fill, store, lose, restoreTyped };
})();
