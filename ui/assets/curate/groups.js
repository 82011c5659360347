/* A group of copies, or a list of images: cards with all that is said of them. */
const NONE = '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/><path d="M5 17l4-5 3 3 3-3 4 5"/></svg>';
export const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
export const source = (index, card, kind) => `media/${encodeURIComponent(index)}/${card.id}/${kind}${card.version ? `?v=${card.version}` : ""}`;
const noImage = () => Object.assign(make("span", "cs-nopicture"), { innerHTML: NONE });
export const button = (label, data) => {
  const node = make("button", "cs-button", label);
  node.type = "button";
  Object.assign(node.dataset, data);
  return node;
};

/* What is said of an image below it. */
export const about = (card, words, together) => {
  const box = make("div", "cs-about");
  const badges = make("p", "cs-badges");
  if (card.keep) badges.append(make("span", "cs-badge cs-keep", card.keep));
  if (card.badge) badges.append(Object.assign(make("span", `cs-badge cs-is-${card.kind}`, card.badge), { title: card.kind === "leader" ? words.leader_help : "" }));
  if (card.score) badges.append(make("span", "cs-figure", card.score));
  if (badges.childNodes.length) box.append(badges);
  if (card.caption) box.append(make("p", "cs-said", card.caption));
  box.append(Object.assign(make("p", "cs-file", card.file), { title: card.folder }));
  for (const line of [card.facts, card.marks, together ? "" : card.folder]) if (line) box.append(make("small", "", line));
  return box;
};

const twin = (card, shown, words, { compares, together }) => {
  const node = make("li", "cs-twin");
  node.dataset.id = card.id;
  node.style.setProperty("--ratio", card.height ? Math.min(Math.max(card.width / card.height, 0.5), 2.4) : 1);
  const open = make("button", "cs-open");
  open.type = "button";
  open.setAttribute("aria-label", cs.fill(words.open, { name: card.name }));
  if (card.image) {
    const image = Object.assign(new Image(), { alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(noImage()));
    image.src = source(shown.index, card, "thumbnail");
    open.append(image);
  } else open.append(noImage());
  const pick = Object.assign(document.createElement("input"), { type: "checkbox", className: "cs-pick" });
  pick.setAttribute("aria-label", cs.fill(words.mark, { name: card.name }));
  const said = about(card, words, together);
  if (compares) said.append(button(words.compare, { compare: "" }));
  node.append(open, pick, said);
  return node;
};

export const mark = (node, on) => {
  node.querySelector("input").checked = on;
  node.classList.toggle("cs-marked", on);
};

export const group = (one, shown, words, number) => {
  const copies = shown.look === "duplicates";
  const section = make("section", copies ? "cs-twins" : "cs-twins cs-loose");
  section.dataset.place = number - 1;
  const together = copies && one.cards.every((card) => card.folder === one.cards[0].folder);
  if (copies) {
    const head = make("div", "cs-twinhead");
    head.append(make("h3", "", cs.fill(words.group, { n: number, count: one.count })));
    if (together && one.cards[0].folder) head.append(make("small", "cs-file", one.cards[0].folder));
    head.append(button(words.rest, { rest: "" }), make("span", "cs-warn", words.none_left));
    section.append(head);
  }
  const list = make("ul", "cs-twinrow");
  list.append(...one.cards.map((card) => twin(card, shown, words, { compares: copies && card.kind !== "leader", together })));
  section.append(list);
  if (one.count > one.cards.length) section.append(button(cs.fill(words.all, { n: one.count.toLocaleString(window.csLang) }), { all: "" }));
  return section;
};
