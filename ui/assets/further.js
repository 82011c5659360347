watch('value', () => {
  const page = element.querySelector('[data-page]');
  if (page) window.dispatchEvent(new CustomEvent('cs:appended', {detail: JSON.parse(page.dataset.page)}));
});
