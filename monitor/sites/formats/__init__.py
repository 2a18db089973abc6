"""Readers of registry files, one file a format."""
