"""Terrain and rainfall, beside the imagery."""
