cs.pictures(element, 1, (read) => cs.search.byPicture(read[0]));
