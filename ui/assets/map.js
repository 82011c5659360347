const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const ramp = (v) => {
  const at = (v / 255) * 4; const low = Math.min(3, Math.floor(at)); const share = at - low;
  return `rgb(${RAMP[low].map((c, i) => Math.round(c * (1 - share) + RAMP[low + 1][i] * share)).join(',')})`;
};
let map = null;
const LIMIT = 1200;
const HALF = 20; // pixels, of a picture on a map of few
const FEW = 150;
const draw = () => {
  if (!map?.canvas.isConnected) return;
  const {canvas, places, count} = map;
  const box = canvas.getBoundingClientRect();
  if (!box.width) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = box.width * ratio; canvas.height = box.height * ratio;
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  const radius = count > 5000 ? 2 : count > 800 ? 3.5 : 6;
  map.box = box; map.x = new Float32Array(count); map.y = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const x = map.x[i] = 28 + places[2 * i] / 65535 * (box.width - 56);
    const y = map.y[i] = 28 + (1 - places[2 * i + 1] / 65535) * (box.height - 56);
    const faded = map.chosen && !map.chosen.has(i);
    pen.globalAlpha = faded ? 0.12 : 0.85;
    pen.fillStyle = map.values ? ramp(map.values[i]) : map.colours[map.groups[i] % map.colours.length];
    const image = map.images?.[i];
    if (image?.complete && image.naturalWidth) {
      const side = Math.min(image.naturalWidth, image.naturalHeight);
      pen.fillRect(x - HALF - 2, y - HALF - 2, 2 * HALF + 4, 2 * HALF + 4);
      pen.drawImage(image, (image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2, side, side, x - HALF, y - HALF, 2 * HALF, 2 * HALF);
    } else {
      pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.fill();
    }
  }
  pen.globalAlpha = 1;
  if (map.drag) {
    const [a, b, c, d] = map.drag;
    pen.strokeStyle = getComputedStyle(element).color; pen.setLineDash([5, 4]);
    pen.strokeRect(Math.min(a, c), Math.min(b, d), Math.abs(a - c), Math.abs(b - d));
  }
};
const choose = (places) => {
  map.chosen = places.length ? new Set(places) : null;
  draw();
  const told = element.querySelector('.cs-selected');
  const peek = element.querySelector('.cs-peek');
  told.replaceChildren(); peek.replaceChildren();
  if (!places.length) return;
  const ids = places.slice(0, LIMIT).map((i) => map.rows[i]);
  told.textContent = cs.fill(map.words.chosen, {n: places.length});
  const go = Object.assign(document.createElement('button'), {type: 'button', className: 'cs-button cs-primary', textContent: map.words.search});
  go.addEventListener('click', () => cs.go(new URLSearchParams({index: map.index, ids: ids.join('-')})));
  for (const id of ids.slice(0, 8)) {
    const image = Object.assign(document.createElement('img'), {src: `${map.media}/${id}/thumbnail`, alt: '', loading: 'lazy'});
    peek.append(image);
  }
  told.append(document.createElement('br'), go);
};
const near = (event) => {
  const x = event.clientX - map.canvas.getBoundingClientRect().left;
  const y = event.clientY - map.canvas.getBoundingClientRect().top;
  let best = -1; let least = map.images ? 700 : 196;
  for (let i = 0; i < map.count; i++) {
    const away = (map.x[i] - x) ** 2 + (map.y[i] - y) ** 2;
    if (away < least) { least = away; best = i; }
  }
  return [best, x, y];
};
const start = () => {
  cs.waits(element, () => trigger('again', {}));
  const box = element.querySelector('[data-map]');
  if (!box) return;
  const data = JSON.parse(box.dataset.map);
  map = {...data, rows: new Int32Array(bytes(data.rows).buffer), places: new Uint16Array(bytes(data.places).buffer),
    groups: bytes(data.groups), values: data.values && bytes(data.values), canvas: box.querySelector('canvas'), chosen: null};
  map.count = map.rows.length;
  if (map.count <= FEW) map.images = [...map.rows].map((id) => {
    const image = new Image();
    image.onload = draw;
    image.src = `${map.media}/${id}/thumbnail`;
    return image;
  });
  new ResizeObserver(draw).observe(map.canvas);
  const hover = box.querySelector('.cs-hover');
  map.canvas.addEventListener('pointermove', (event) => {
    const [i, x, y] = near(event);
    if (map.drag) { map.drag[2] = x; map.drag[3] = y; draw(); return; }
    hover.hidden = i < 0;
    if (i < 0) return;
    const source = `${map.media}/${map.rows[i]}/thumbnail`;
    const image = hover.firstElementChild;
    if (image.getAttribute('src') !== source) image.src = source;
    hover.style.left = `${Math.min(x + 14, map.box.width - 170)}px`;
    hover.style.top = `${Math.min(y + 14, map.box.height - 170)}px`;
  });
  map.canvas.addEventListener('pointerleave', () => { hover.hidden = true; });
  map.canvas.addEventListener('pointerdown', (event) => {
    const [, x, y] = near(event);
    map.drag = [x, y, x, y]; hover.hidden = true;
    map.canvas.setPointerCapture(event.pointerId);
  });
  map.canvas.addEventListener('pointerup', (event) => {
    if (!map.drag) return;
    const [a, b, c, d] = map.drag; map.drag = null;
    if (Math.abs(a - c) < 5 && Math.abs(b - d) < 5) {
      const [i] = near(event);
      choose(i < 0 ? [] : [i]);
      return;
    }
    const inside = [];
    for (let i = 0; i < map.count; i++) {
      if (map.x[i] >= Math.min(a, c) && map.x[i] <= Math.max(a, c) && map.y[i] >= Math.min(b, d) && map.y[i] <= Math.max(b, d)) inside.push(i);
    }
    choose(inside);
  });
  draw();
};
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-again]')) { trigger('again', {retry: true}); return; }
  const entry = event.target.closest('[data-group]');
  if (!entry) return;
  const wanted = Number(entry.dataset.group);
  choose([...map.groups].flatMap((group, i) => group === wanted ? [i] : []));
});
watch('value', start);
start();
