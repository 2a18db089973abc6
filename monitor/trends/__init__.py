"""Trends of whole maps."""
