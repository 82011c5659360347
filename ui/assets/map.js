/* Nothing here but the way to `map/tab.js`, which is loaded when there is a map to show. */
const start = async () => {
  cs.waits(element, () => trigger('again', {}));
  const box = element.querySelector('[data-map]');
  if (!box) return;
  const data = JSON.parse(box.dataset.map);
  const { open } = await import(new URL(data.script, document.baseURI));
  if (box.isConnected) open(box, data, () => trigger('again', {}));
};
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-again]')) trigger('again', {retry: true});
});
watch('value', start);
start();
