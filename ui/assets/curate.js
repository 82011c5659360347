/* Nothing here but the way to `curate/tab.js`, which is loaded when the tab is shown. */
const box = element.querySelector('[data-curate]');
const data = JSON.parse(box.dataset.curate);
const visit = async () => {
  if (new URLSearchParams(location.search).get('tab') !== 'curate') return;
  const tab = await import(new URL(data.script, document.baseURI));
  tab.visit(box, data.words);
};
for (const type of ['cs:curate', 'cs:navigate', 'popstate']) window.addEventListener(type, visit);
visit();
