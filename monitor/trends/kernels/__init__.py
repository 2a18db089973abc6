"""Numerics of the trends on plain arrays: compiled, free of the interpreter lock, one file a method."""
