/* Nothing here but the way to `learn/attention.js`, which is loaded when there is something to show. */
const start = async () => {
  const box = element.querySelector('[data-attention]');
  if (!box) return;
  const data = JSON.parse(box.dataset.attention);
  const { show } = await import(new URL(data.script, document.baseURI));
  if (element.contains(box)) show(element, data);
};
watch('value', start);
start();
