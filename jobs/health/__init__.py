"""The checks of ``regrowth doctor``, by subject. They change nothing.

Heavy libraries are imported inside the checks: one that does not load must not hide the other findings.
"""
