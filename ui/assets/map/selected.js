/* What is chosen on the map: how many, some of them, and the way to search among them. */
const IN_LINK = 100; // ids that a link holds; the server keeps more of them under a token
const PEEK = 8;

export class Selected {
  constructor(side, data, plot, open) {
    Object.assign(this, { side, data, plot, open });
    side.querySelector("[data-search]").addEventListener("click", () => this.search());
    side.querySelector("[data-clear]").addEventListener("click", () => plot().choose([]));
  }
  show(points) {
    this.points = points;
    const { words, media } = this.data;
    this.side.querySelector(".cs-selected").textContent = points.length
      ? cs.fill(words.chosen, { n: points.length.toLocaleString(window.csLang) }) : "";
    this.side.querySelector(".cs-chosenbar").hidden = !points.length;
    const peek = this.side.querySelector(".cs-peek");
    peek.replaceChildren(...points.slice(0, PEEK).map((i) => {
      const id = this.plot().ids[i];
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.setAttribute("aria-label", cs.fill(words.open, { id }));
      button.append(Object.assign(new Image(), { src: `${media}/${id}/thumbnail`, alt: "", loading: "lazy" }));
      button.addEventListener("click", () => this.open(i));
      return button;
    }));
  }
  async search() {
    const { data } = this;
    const ids = Float64Array.from(this.points, (i) => this.plot().ids[i]).sort();
    const link = { index: data.index };
    if (ids.length <= IN_LINK) link.ids = ids.join("-");
    else {
      const answer = await fetch(new URL(data.keep, document.baseURI), { method: "POST", body: ids }).catch(() => null);
      if (!answer?.ok) { cs.toast(answer ? await answer.text() : data.words.not_kept, "error"); return; }
      link.selection = (await answer.json()).selection;
    }
    cs.go(new URLSearchParams(link));
  }
}
