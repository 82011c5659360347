/* Dialogs over the tabs: the address or the history says which is open, and Back closes it. */
(() => {
  const made = new Map();
  const titles = { why: cs.words.why_title, build: cs.words.build_title };

  const make = (name) => {
    if (made.has(name)) return made.get(name);
    const dialog = document.createElement("dialog");
    const title = titles[name];
    dialog.className = "cs-window";
    dialog.id = `cs-dialog-${name}`;
    dialog.setAttribute("aria-label", title);
    dialog.innerHTML = `<div class="cs-windowhead"><h2 tabindex="-1" autofocus>${title}</h2><button type="button" class="cs-tool" aria-label="${cs.words.close}">\u00d7</button></div><div class="cs-windowbody"></div>`;
    dialog.querySelector("button").addEventListener("click", close);
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
    dialog.addEventListener("mousedown", (event) => { if (event.target === dialog) close(); });
    (document.querySelector(".gradio-container") ?? document.body).append(dialog);
    made.set(name, dialog);
    return dialog;
  };
  /* What Gradio has made for a dialog moves into it, once it is there. */
  const adopt = (name, element) => make(name).querySelector(".cs-windowbody").replaceChildren(element.closest(".column"));

  const open = (name) => {
    const dialog = make(name);
    if (!dialog.open) dialog.showModal();
  };
  const wanted = () => cs.at().dialog || history.state?.dialog || "";
  const follow = () => {
    const name = wanted();
    for (const [other, dialog] of made) if (other !== name && dialog.open) dialog.close();
    if (name) open(name);
  };
  /* Above what was opened later. */
  const raise = () => {
    const dialog = made.get(wanted());
    if (dialog?.open) { dialog.close(); dialog.showModal(); }
  };
  const close = () => {
    if (history.state?.dialog) history.back(); // which was opened from this page
    else {
      const { tab } = cs.at();
      cs.address(new URLSearchParams([...(tab === "search" ? [] : [["tab", tab]]), ...new URLSearchParams(cs.results.link)]), true);
      cs.navigate();
    }
  };
  /* Open by the address, with fields of its own. */
  const show = (name, own) => {
    const state = history.state;
    cs.show(name, own);
    history.replaceState({ ...state, dialog: name }, "");
  };
  document.addEventListener("click", (event) => {
    const why = event.target.closest?.("[data-why]");
    const picture = why && cs.given.find((one) => one.key === why.dataset.why);
    if (picture) {
      cs.handed = { pictures: [picture], text: why.dataset.text };
      show("why", { given: picture.key });
    }
    const found = event.target.closest?.(".cs-window a[href^='?']");
    if (found && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      cs.go(found.getAttribute("href").slice(1));
    }
    if (event.target.closest?.("[data-add]")) { event.preventDefault(); show("build"); }
  });
  window.addEventListener("cs:navigate", follow);
  window.addEventListener("popstate", follow);

  cs.dialogs = { adopt, follow, raise, show };
})();
