"""Maps of a site from its stored pixels: sums of growing seasons, site maps, and the failing area."""
