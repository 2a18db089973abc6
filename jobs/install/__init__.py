"""An installation made, saved and restored."""
