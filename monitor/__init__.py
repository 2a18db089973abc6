"""The regrowth monitor: is the restoration work taking hold? Importing this package does nothing."""
