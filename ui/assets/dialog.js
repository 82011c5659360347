let before = null;
const dialog = () => element.querySelector('dialog');
watch('value', () => {
  const opened = dialog();
  if (!opened || opened.open) return;
  before = before || document.activeElement;
  opened.showModal();
  opened.addEventListener('close', () => { before?.focus?.(); before = null; });
});
const step = (by) => {
  const cards = [...document.querySelectorAll('#cs-gallery .cs-card')];
  const at = cards.findIndex((card) => card.dataset.id === dialog().dataset.item);
  const next = cards[at + by];
  if (next) { before = next.querySelector('.cs-open'); next.querySelector('.cs-open').click(); }
};
element.addEventListener('click', (event) => {
  const opened = dialog();
  const button = event.target.closest('button');
  if (event.target === opened || button?.matches('[data-close]')) { opened.close(); return; }
  if (!button) return;
  const id = Number(opened.dataset.item);
  if (button.dataset.step) step(Number(button.dataset.step));
  else if (button.dataset.do === 'caption') trigger('caption', {id});
  else if (button.dataset.do === 'why') {
    opened.close();
    const params = new URLSearchParams(location.search);
    cs.go(new URLSearchParams({tab: 'why', index: params.get('index') || '', item: id, text: params.get('q') || ''}));
  } else if (button.dataset.do) {
    opened.close();
    trigger('act', {do: button.dataset.do, id});
  }
});
element.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowRight') step(1);
  if (event.key === 'ArrowLeft') step(-1);
});
