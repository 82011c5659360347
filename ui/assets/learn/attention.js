/* An image in patches: the one that is chosen, and where it looks. */

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // as heat maps have it
const STRENGTH = 0.7;
const SUMMARY = -1;
let chosen = null; // kept when another layer, head or image is shown

const color = (heat) => {
  const at = heat * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((from, band) => Math.round(from + (RAMP[low + 1][band] - from) * (at - low)));
};

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

/* One state of the page: data of `attention_stage`, and the elements that show it. */
const shownIn = (root, data) => {
  const { rows, columns, words } = data;
  const count = rows * columns;
  const heat = Uint8Array.from(atob(data.heat), (letter) => letter.charCodeAt(0));
  const area = root.querySelector('.cs-patches'), canvas = area.querySelector('canvas');
  const frame = area.querySelector('i'), told = root.querySelector('.cs-looks [role=status]');
  const summary = root.querySelector('[data-summary]');
  const name = (patch) => cs.fill(words.patch, { row: Math.floor(patch / columns) + 1, column: patch % columns + 1 });

  const draw = (row) => {
    canvas.width = columns;
    canvas.height = rows;
    const pixels = canvas.getContext('2d').createImageData(columns, rows);
    for (let patch = 0; patch < count; patch += 1) {
      const value = heat[row * count + patch] / 255;
      pixels.data.set([...color(value), 255 * STRENGTH * (0.55 + 0.45 * value)], 4 * patch);
    }
    canvas.getContext('2d').putImageData(pixels, 0, 0);
  };

  const cell = (tag, text) => {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  };
  const swatch = (hex) => {
    const made = document.createElement('i');
    made.style.background = hex;
    return made;
  };
  const tell = (row) => {
    const title = cell('p', row === count ? words.summary : cs.fill(words.looks, { patch: name(row) }));
    const table = document.createElement('table');
    const worked = data.scores && row < count; // of the toy, whose queries and keys can be read
    const heads = worked ? [words.at, words.key, words.score, words.share] : [words.at, words.share];
    table.createTHead().insertRow().append(...heads.map((text) => cell('th', text)));
    const body = table.createTBody();
    data.top[row].forEach((patch, place) => {
      const line = body.insertRow();
      const first = cell('td', patch === row ? words.itself : name(patch));
      if (data.colors) first.prepend(swatch(data.colors[patch]));
      line.append(first);
      if (worked) line.append(cell('td', data.keys[patch]), cell('td', data.scores[row][place].toFixed(2)));
      line.append(cell('td', percent(data.shares[row][place])));
    });
    told.replaceChildren(title);
    if (worked) told.append(cell('p', cs.fill(words.query, { query: data.queries[row] })));
    told.append(table);
    if (worked) told.append(cell('p', cs.fill(words.sum, { sum: data.sums[row] })));
    if (data.rest) told.append(cell('p', cs.fill(words.rest, { share: percent(data.rest[row]) })));
    if (data.colors && row < count) {
      const reads = cell('p', words.reads);
      reads.append(swatch(data.colors[row]), ' → ', swatch(data.mixed[row]));
      told.append(reads);
    }
  };

  const choose = (patch) => {
    chosen = patch;
    const row = patch === SUMMARY ? count : patch;
    summary?.setAttribute('aria-pressed', String(patch === SUMMARY));
    frame.hidden = patch === SUMMARY;
    frame.style.cssText = `left:${100 * (patch % columns) / columns}%;top:${100 * Math.floor(patch / columns) / rows}%;width:${100 / columns}%;height:${100 / rows}%`;
    draw(row);
    tell(row);
  };

  const at = (event) => {
    const place = area.getBoundingClientRect();
    const column = Math.floor((event.clientX - place.left) / place.width * columns);
    const row = Math.floor((event.clientY - place.top) / place.height * rows);
    const within = (value, most) => Math.max(0, Math.min(most - 1, value));
    return within(row, rows) * columns + within(column, columns);
  };
  const step = (key) => {
    const from = chosen === SUMMARY ? Math.floor(count / 2) : chosen;
    const row = Math.floor(from / columns), column = from % columns;
    const to = {
      ArrowLeft: column > 0 && from - 1,
      ArrowRight: column < columns - 1 && from + 1,
      ArrowUp: row > 0 && from - columns,
      ArrowDown: row < rows - 1 && from + columns,
    }[key];
    if (to !== undefined && to !== false) choose(to);
    return to !== undefined;
  };

  const first = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
  const gone = chosen === null || chosen >= count || (chosen === SUMMARY && !summary);
  choose(gone ? first : chosen);
  return { at, choose, step };
};

/* Gradio changes the elements that are there instead of making new ones, so listeners are set once. */
export const show = (root, data) => {
  const isNew = !root.csShown;
  root.csShown = shownIn(root, data);
  if (!isNew) return;
  const onImage = (event) => event.target.closest('.cs-patches');
  root.addEventListener('pointerdown', (event) => { if (onImage(event)) root.csShown.choose(root.csShown.at(event)); });
  root.addEventListener('pointermove', (event) => { if (event.buttons && onImage(event)) root.csShown.choose(root.csShown.at(event)); });
  root.addEventListener('keydown', (event) => { if (onImage(event) && root.csShown.step(event.key)) event.preventDefault(); });
  root.addEventListener('click', (event) => { if (event.target.closest('[data-summary]')) root.csShown.choose(SUMMARY); });
};
