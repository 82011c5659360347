/* The image and name of the point below the pointer. */
const WAIT_MS = 60; // before a name is asked for: a pointer on its way passes many points
const SIDE = 172;

export const hoverCard = (card, source, nameUrl) => {
  const names = new Map();
  const [image, line] = card.children;
  let asked = 0; let shown = -1;
  const tell = async (id) => {
    const url = nameUrl(id).replace("{id}", id);
    if (!names.has(url)) {
      const answer = await fetch(new URL(url, document.baseURI)).catch(() => null);
      names.set(url, answer?.ok ? (await answer.json()).name : "");
    }
    if (shown === id) line.textContent = names.get(url);
  };
  return (i, at, id, view) => {
    card.hidden = i < 0;
    if (i < 0) { shown = -1; clearTimeout(asked); return; }
    card.style.left = `${at[0] + 16 + SIDE > view.width ? Math.max(0, at[0] - 16 - SIDE) : at[0] + 16}px`;
    card.style.top = `${Math.max(4, Math.min(at[1] + 16, view.height - SIDE - 44))}px`;
    if (shown === id) return;
    shown = id;
    line.textContent = "";
    image.src = source(i);
    clearTimeout(asked);
    asked = setTimeout(tell, WAIT_MS, id);
  };
};
