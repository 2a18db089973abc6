"""Vegetation indices and vegetation cover."""
