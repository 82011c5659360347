element.addEventListener('input', (event) => {
  event.stopPropagation();
  element.querySelector('output').textContent = '\u2265 ' + Number(event.target.value).toFixed(2);
});
element.addEventListener('change', (event) => {
  event.stopPropagation();
  trigger('act', {do: 'least', value: event.target.value});
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const on = button.getAttribute('aria-pressed') === 'true';
  trigger('act', {do: 'least', value: button.matches('[data-auto]') && !on ? 'auto' : null});
});
