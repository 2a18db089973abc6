"""The verdict: is it taking hold? Observed growth against the expected, with its evidence."""
