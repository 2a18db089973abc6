"""Pages of the whole programme: the index with its map, tables by province, and the last nights."""
