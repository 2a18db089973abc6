"""The verdict: is it taking hold? Expected growth against what was seen, with its evidence."""
