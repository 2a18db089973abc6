"""The masked observation cube of a site, and the store that holds it."""
