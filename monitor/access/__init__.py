"""Stored and published data of a site for scientists: as a cube, as a table, as one file."""
