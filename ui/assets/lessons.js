/* A lesson that is chosen becomes the address, which says what is searched for as well. */
let follow = false;
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-lesson]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const params = new URLSearchParams(location.search);
  params.set('tab', 'learn');
  params.set('lesson', link.dataset.lesson);
  follow = true;
  cs.go(params);
});
watch('value', () => {
  if (!follow) return;
  follow = false;
  element.querySelector('[aria-current]').focus({preventScroll: true});
  if (element.getBoundingClientRect().top < 0) element.scrollIntoView({block: 'start'});
});
