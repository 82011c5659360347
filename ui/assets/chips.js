const place = (node) => Number(node.closest('.cs-chip').dataset.place);
const add = (sign) => {
  const field = element.querySelector('.cs-addchip input');
  if (field.value.trim()) trigger('act', {do: 'add', text: field.value, weight: sign});
  else field.focus();
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.matches('[data-plus]')) add(1);
  else if (button.matches('[data-minus]')) add(-1);
  else if (button.matches('[data-clear]')) trigger('clear', {});
  else if (button.matches('[data-remove]')) trigger('act', {do: 'remove', place: place(button)});
  else if (button.matches('[data-flip]')) {
    const chip = button.closest('.cs-chip');
    const weight = Number(chip.querySelector('input').value) || 1;
    const sign = chip.classList.contains('cs-plus') ? -1 : 1;
    trigger('act', {do: 'weight', place: place(button), weight: sign * weight});
  }
});
element.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target.matches('.cs-addchip input')) {
    event.preventDefault();
    const minus = /^\s*[-\u2212]/.test(event.target.value);
    if (minus) event.target.value = event.target.value.replace(/^\s*[-\u2212]\s*/, '');
    add(minus ? -1 : 1);
  }
});
element.addEventListener('change', (event) => {
  event.stopPropagation();
  if (!event.target.matches('input[type=number]')) return;
  const sign = event.target.closest('.cs-chip').classList.contains('cs-plus') ? 1 : -1;
  trigger('act', {do: 'weight', place: place(event.target), weight: sign * Number(event.target.value)});
});
element.addEventListener('input', (event) => event.stopPropagation());
