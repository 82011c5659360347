/* Two to four images side by side, which zoom and move together. */
(() => {
  const words = window.csPick;
  const compare = (index, ids) => {
    const before = document.activeElement;
    const dialog = document.createElement("dialog");
    dialog.className = "cs-compare";
    dialog.style.setProperty("--n", ids.length);
    dialog.setAttribute("aria-label", words.compare);
    const media = (id) => `media/${encodeURIComponent(index)}/${id}/preview`;
    dialog.innerHTML = ids.map((id) => `<figure data-id="${id}"><div class="cs-stage" tabindex="-1"><div class="cs-pane"><img alt="" draggable="false" src="${media(id)}"></div></div><figcaption class="cs-about"><strong></strong><div class="cs-table-of"></div></figcaption></figure>`).join("")
      + `<button type="button" class="cs-closer" data-close aria-label="${words.close}">\u00d7</button>`;
    document.body.append(dialog);
    const figures = [...dialog.querySelectorAll("figure")];
    const parts = (figure) => ["stage", "pane"].map((name) => figure.querySelector(`.cs-${name}`));
    let sharp = false;
    const full = () => {
      if (sharp) return;
      sharp = true;
      for (const figure of figures) {
        const original = new Image();
        original.onload = () => {
          figure.querySelector("img").src = original.src;
          figure.querySelector(".cs-pane").style.setProperty("--wide", `${original.naturalWidth}px`);
        };
        original.src = `page/items/${encodeURIComponent(index)}/${figure.dataset.id}/file`;
      }
    };
    const zoom = cs.zooming(figures.map(parts), { full });
    for (const figure of figures) {
      const [, pane] = parts(figure), image = figure.querySelector("img");
      image.addEventListener("load", () => {
        pane.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
        if (!sharp) pane.style.setProperty("--wide", `${Math.max(image.naturalWidth, 320)}px`);
      });
      image.addEventListener("error", () => pane.replaceChildren(Object.assign(document.createElement("p"), { className: "cs-hint", textContent: words.gone })));
      cs.results.ask(`items/${encodeURIComponent(index)}/${figure.dataset.id}`, new URLSearchParams()).then((found) => {
        image.alt = found.name;
        figure.querySelector("strong").textContent = found.name;
        figure.querySelector(".cs-table-of").innerHTML = found.table;
      }, (error) => { figure.querySelector("strong").textContent = error.message; });
    }
    dialog.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") zoom.by(1.4);
      else if (event.key === "-") zoom.by(1 / 1.4);
      else if (event.key === "0") zoom.reset();
      else return;
      event.preventDefault();
    });
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.({ preventScroll: true }); });
    dialog.showModal();
  };
  cs.compare = compare;
})();
