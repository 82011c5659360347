element.addEventListener('click', (event) => {
  if (event.target.closest('[data-undo]')) trigger('act', {do: 'undo'});
});
