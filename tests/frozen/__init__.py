"""Installations as released versions left them, one archive each; ``python -m tests.frozen FILE.tar.xz`` makes one.

An archive is made once, by the version that it is named after, and never again: later versions must open it.
"""
