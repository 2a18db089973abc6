"""Compiled arithmetic (numba) of the verdict, on plain arrays of one site's usable scenes in ascending order.

Everything is causal: what is computed for scene i uses scenes up to i only, so that a verdict drawn later for an
earlier date is, bit for bit, the verdict of that date. The control's normal season is estimated from scenes before the
start; where these are too few, from ended seasons only.

Conventions: `day` counts days from 1970-01-01; `position` is the day within the growing season, from 1; `season` is
the year in which the season opened. Cover is a fraction. Every file here names numba, so that the folder of compiled
kernels changes with each of them.
"""
