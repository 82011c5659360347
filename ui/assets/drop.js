cs.pictures(element, 24, (pictures) => trigger('given', {pictures}));
