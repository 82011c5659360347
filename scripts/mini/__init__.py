"""The recipe of `clipsearch-mini`, a module for each of its stages."""
