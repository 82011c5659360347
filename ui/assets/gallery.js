let asking = false;
let focused = null;
const more = () => {
  const cards = element.querySelectorAll('.cs-card');
  if (asking || !cards.length) return;
  asking = true;
  trigger('further', {offset: cards.length, last: Number(cards[cards.length - 1].dataset.id)});
};
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) more();
}, {rootMargin: '600px'});
const settle = () => {
  asking = false;
  watcher.disconnect();
  const shown = element.querySelector('[data-link]');
  const button = element.querySelector('.cs-more');
  if (button) watcher.observe(button);
  cs.waits(element, () => trigger('act', {do: 'again'}));
  if (shown && element.offsetParent) cs.address(shown.dataset.link);
  if (focused) {
    element.querySelector(focused)?.focus();
    focused = null;
  }
};
window.addEventListener('cs:appended', (event) => {
  const {html, link, more: further} = event.detail;
  const grid = element.querySelector('.cs-grid');
  asking = false;
  if (!grid || grid.dataset.link !== link) return;
  grid.insertAdjacentHTML('beforeend', html);
  const button = element.querySelector('.cs-more');
  if (!further) button?.remove();
  else if (button) { watcher.unobserve(button); watcher.observe(button); }
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const card = button.closest('.cs-card');
  if (button.matches('.cs-more')) more();
  else if (button.matches('[data-again]')) trigger('act', {do: 'retry'});
  else if (button.matches('[data-vote]')) {
    focused = `.cs-card[data-id="${card.dataset.id}"] [data-vote="${button.dataset.vote}"]`;
    trigger('act', {do: 'vote', ...card.dataset, way: button.dataset.vote});
  } else if (button.matches('.cs-open')) trigger('open', {id: Number(card.dataset.id)});
});
element.addEventListener('keydown', (event) => {
  const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 'down', ArrowUp: 'up'};
  const card = event.target.closest('.cs-card');
  if (!card || !(event.key in steps)) return;
  event.preventDefault();
  const cards = [...element.querySelectorAll('.cs-card')];
  const columns = cards.filter((other) => other.offsetTop === cards[0].offsetTop).length;
  const step = {down: columns, up: -columns}[steps[event.key]] ?? steps[event.key];
  cards[cards.indexOf(card) + step]?.querySelector('.cs-open').focus();
});
element.addEventListener('error', (event) => {
  if (event.target.matches?.('img')) event.target.replaceWith(Object.assign(
    document.createElement('span'), {className: 'cs-nopicture'}));
}, true);
watch('value', settle);
settle();
