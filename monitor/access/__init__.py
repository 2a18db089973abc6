"""What an installation has stored and published of a site, for scientists: as a cube, as a table, as one file."""
