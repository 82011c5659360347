"""Looking into an index and a model: maps, outliers, feedback, heat maps, thumbnails."""
