"""Matched comparison ground."""
