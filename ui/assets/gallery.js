cs.grid.mount(element);
