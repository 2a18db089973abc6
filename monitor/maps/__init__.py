"""Maps of a site from its stored pixels: sums of growing seasons, the maps made of them, and the failing ground."""
