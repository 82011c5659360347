/* The header: the collection, the line of search, and images dropped or pasted anywhere. */
(() => {
  let root = null, filled = "";
  const names = [];
  const field = () => root.querySelector("#cs-query input");
  const chooser = () => root.querySelector("#cs-index select");

  const known = (found) => {
    if (!found) return;
    names.splice(0, names.length, ...found);
    if (root) fill();
  };
  /* What the search is; text that somebody is typing stays, unless the address changed. */
  const fill = (force) => {
    if (!root) return;
    const params = new URLSearchParams(cs.results.link);
    const index = params.get("index") || names[0] || "";
    const all = names.includes(index) ? names : ["", ...names];
    const select = chooser();
    if (JSON.stringify([...select.options].map((one) => one.value)) !== JSON.stringify(all)) {
      select.replaceChildren(...all.map((name) => new Option(name || cs.words.choose, name)));
    }
    select.value = names.includes(index) ? index : "";
    root.querySelector("#cs-index").hidden = !names.length;
    const text = params.get("q") || "";
    if (force || field().value === filled) field().value = text;
    filled = text;
  };
  const index = () => new URLSearchParams(cs.results.link).get("index") || names[0] || "";

  const takes = () => ["search", "map", "curate"].includes(cs.at().tab) && !document.querySelector("dialog[open]");
  const mount = (element) => {
    root = element;
    root.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      filled = field().value.trim();
      cs.search.ask(filled);
    });
    chooser().addEventListener("change", () => cs.search.choose(chooser().value));
    cs.pictures(root.querySelector("#cs-picture"), 1, (read) => cs.search.byPicture(read[0]), takes);
    fill(true);
    cs.restoreTyped();
    cs.job.draw();
    cs.dialogs.follow();
  };
  window.csStart.then((start) => known(start?.indexes));
  window.addEventListener("cs:navigate", () => fill(true));
  window.addEventListener("popstate", () => fill(true));

  /* An image may be dropped anywhere: where there is no zone for it, it is searched for. */
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  let over = 0;
  const mark = (on) => document.documentElement.classList.toggle("cs-dropping", on);
  window.addEventListener("dragenter", (event) => { if (hasFiles(event) && takes()) { over += 1; mark(true); } });
  window.addEventListener("dragleave", (event) => { if (hasFiles(event) && takes() && --over <= 0) { over = 0; mark(false); } });
  window.addEventListener("drop", async (event) => {
    over = 0;
    mark(false);
    if (!takes() || event.target.closest?.("#cs-picture")) return;
    const file = [...(event.dataTransfer?.files || [])].find((one) => one.type.startsWith("image/") || !one.type);
    const picture = file && await cs.readPicture(file);
    if (picture) cs.search.byPicture(picture);
    else if (file) cs.toast(cs.fill(cs.words.unreadable, { name: file.name }), "error");
  });

  cs.header = { fill, index, known, mount };
})();
