"""Matched control ground: selection, screening, orbit bias and means."""
