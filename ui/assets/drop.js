cs.pictures(element, Number(element.firstElementChild.dataset.most || 24), (pictures) => trigger('given', {pictures}));
