/* A small dialog that asks for a name: one that is there already, or a new one. */
(() => {
  const words = window.csPick;
  let dialog = null, answer = null;
  const build = () => {
    dialog = document.createElement("dialog");
    dialog.className = "cs-ask";
    dialog.innerHTML = `<form><h2></h2><p class="cs-hint"></p><input type="text" maxlength="200" autocomplete="off"><ul></ul><div class="cs-askend"><button type="button" class="cs-button" data-cancel>${words.cancel}</button><button class="cs-button cs-primary">${words.ok}</button></div></form>`;
    dialog.addEventListener("close", () => answer?.(null));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-cancel]")) dialog.close();
      const option = event.target.closest("[data-name]");
      if (option) done(option.dataset.name);
    });
    dialog.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = dialog.querySelector("input").value.trim();
      if (name) done(name);
    });
    dialog.addEventListener("input", () => {
      const typed = dialog.querySelector("input").value.trim().toLowerCase();
      for (const item of dialog.querySelectorAll("li")) item.hidden = !item.textContent.toLowerCase().includes(typed);
    });
    document.body.append(dialog);
  };
  const done = (name) => { const told = answer; answer = null; dialog.close(); told?.(name); };

  /* Gives the name, or null. options: [{name, n}]; free: whether another name may be typed. */
  const ask = ({ title, label = title, hint = "", value = "", options = [], free = true }) => {
    if (!dialog) build();
    answer?.(null);
    dialog.querySelector("h2").textContent = title;
    dialog.querySelector("p").textContent = hint;
    const input = dialog.querySelector("input");
    input.setAttribute("aria-label", label);
    input.placeholder = label;
    input.value = value;
    input.hidden = !free && options.length < 8;
    dialog.querySelector(".cs-primary").hidden = !free;
    dialog.querySelector("ul").replaceChildren(...options.map(({ name, n }) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "cs-chip", textContent: name });
      button.dataset.name = name;
      if (n !== undefined) button.append(Object.assign(document.createElement("small"), { textContent: n.toLocaleString(window.csLang) }));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
    return new Promise((resolve) => {
      answer = resolve;
      dialog.showModal();
      if (!input.hidden) { input.focus(); input.select(); }
    });
  };
  cs.ask = ask;
})();
