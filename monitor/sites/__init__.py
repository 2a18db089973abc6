"""Read, check, repair and version the registry of sites."""
