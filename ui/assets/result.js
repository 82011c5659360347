const settle = () => cs.waits(element, () => trigger('again', {}));
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.matches('[data-again]')) trigger('again', {retry: true});
  else if (button?.dataset.do) trigger('chosen', {...button.dataset});
});
element.addEventListener('change', (event) => {
  event.stopPropagation();
  if (event.target.dataset.do) trigger('chosen', {...event.target.dataset, checked: event.target.checked, value: event.target.value});
});
element.addEventListener('input', (event) => {
  event.stopPropagation();
  if (event.target.matches('[data-opacity]')) element.querySelectorAll('.cs-heat').forEach((image) => {
    image.style.opacity = event.target.value;
  });
});
watch('value', settle);
settle();
