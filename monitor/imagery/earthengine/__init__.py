"""Imagery from Google Earth Engine."""
