cs.pictures(element, 1, (read) => trigger('act', {do: 'picture', ...read[0]}));
document.getElementById('cs-gallery')?.addEventListener('dragover', (event) => event.preventDefault());
