"""Imagery from STAC catalogues."""
