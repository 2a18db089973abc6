"""Trends of whole maps: slope, monotonic trend and seasonal fit of every pixel."""
