"""Sites: registry files, their checks and repair, biomes, growing seasons, and grouping into landscapes."""
