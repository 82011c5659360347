cs.pictures(element, 1, (pictures) => trigger('given', {pictures}));
/* An image of another tab, with the text that is asked of it. */
const hand = () => {
  const handed = cs.handed;
  cs.handed = null;
  if (handed) trigger('given', handed);
};
window.addEventListener('cs:navigate', hand);
hand();
