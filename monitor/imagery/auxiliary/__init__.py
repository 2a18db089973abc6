"""Terrain and rainfall data that complement the imagery."""
