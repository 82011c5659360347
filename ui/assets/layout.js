/* Rows of images that fill the width, each with its own proportions. */
(() => {
  const LINE = 52; // pixels of the line below which results are no better than chance

  /* ratios: percent of the height; above: the first image below the line, or null.
     Gives rows {top, height, first, end, scale} and the height of all. */
  const rows = (ratios, width, wanted, gap, above) => {
    const found = [];
    let top = 0, first = 0, sum = 0, line = null;
    const close = (end, full) => {
      const room = width - gap * (end - first - 1);
      const height = full ? room / (sum / 100) : Math.min(wanted, room / (sum / 100));
      found.push({ top, height, first, end });
      top += height + gap;
      first = end;
      sum = 0;
    };
    for (let i = 0; i < ratios.length; i++) {
      if (i === above) {
        if (first < i) close(i, false);
        line = top;
        top += LINE;
      }
      sum += ratios[i];
      if ((sum / 100) * wanted + gap * (i - first) >= width) close(i + 1, true);
    }
    if (first < ratios.length) close(ratios.length, false);
    return { found, height: top, line };
  };

  /* The first row whose lower edge lies below y. */
  const rowAt = (found, y) => {
    let low = 0, high = found.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (found[middle].top + found[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  /* The row of an image. */
  const rowOf = (found, i) => {
    let low = 0, high = found.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (found[middle].end <= i) low = middle + 1;
      else high = middle;
    }
    return found[low];
  };

  cs.layout = { rows, rowAt, rowOf };
})();
