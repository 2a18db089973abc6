"""Readers of registry files: one module for each format."""
