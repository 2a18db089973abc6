"""Observation series of a site and its control ground: one column schema, built from the stored scenes."""
