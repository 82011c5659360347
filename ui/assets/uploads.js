/* Images that will be added: each gets a caption, if there is one, before they are sent. */
const AT_ONCE = 12, BYTES = 12e6; // in one request
const words = cs.words;
const list = element.querySelector('.cs-uploads');
const go = element.querySelector('[data-send]');
let chosen = [], kept = 0; // and how many the server has, which are not indexed yet
const draw = () => {
  go.hidden = !chosen.length;
  go.textContent = cs.fill(words.send, { n: chosen.length });
  list.replaceChildren(...chosen.map((one) => {
    one.node ??= row(one);
    return one.node;
  }));
};
const row = (one) => {
  const node = document.createElement('li');
  node.append(Object.assign(new Image(), { src: one.data, alt: '' }));
  const field = Object.assign(document.createElement('input'), { type: 'text', maxLength: 2000, placeholder: words.caption });
  field.setAttribute('aria-label', cs.fill(words.caption_of, { name: one.name }));
  field.addEventListener('input', (event) => { event.stopPropagation(); one.caption = field.value; });
  const away = Object.assign(document.createElement('button'), { type: 'button', className: 'cs-tool', textContent: '\u00d7' });
  away.setAttribute('aria-label', cs.fill(words.remove, { name: one.name }));
  away.addEventListener('click', () => { chosen = chosen.filter((other) => other !== one); draw(); });
  node.append(field, away);
  return node;
};
cs.pictures(element, Infinity, (pictures) => { chosen.push(...pictures); draw(); });
const say = (text) => { // beside what is chosen, which stays
  const box = document.querySelector('#cs-build-problem > *') ?? document.getElementById('cs-build-problem');
  box.replaceChildren(...(text ? [Object.assign(document.createElement('div'), { className: 'cs-message cs-error', textContent: text })] : []));
  box.firstChild?.setAttribute('role', 'alert');
};
const post = (path, body) => cs.results.ask(path, new URLSearchParams(), { method: 'POST', body: JSON.stringify(body) });
go.addEventListener('click', async () => {
  const name = document.querySelector('#cs-build-name textarea, #cs-build-name input')?.value.trim() || cs.header.index();
  const path = `uploads/${encodeURIComponent(name) || '-'}`;
  const total = chosen.length, problems = [];
  go.disabled = true;
  try {
    while (chosen.length) {
      let size = 0;
      const some = chosen.filter((one, at) => at < AT_ONCE && ((size += one.data.length) < BYTES || !at));
      go.textContent = cs.fill(words.sending, { n: total - chosen.length + some.length, total });
      const answer = await post(path, { pictures: some.map(({ name, data, caption }) => ({ name, data, caption })) });
      kept += answer.kept;
      chosen = chosen.filter((one) => !some.includes(one));
      if (answer.told) problems.push(answer.told);
    }
    if (kept) cs.job.told((await post(`${path}/start`, {})).job);
    kept = 0;
    trigger('given', {});
  } catch (error) { if (!error.lost) problems.push(error.message); }
  go.disabled = false;
  say(problems.join(' '));
  draw();
});
