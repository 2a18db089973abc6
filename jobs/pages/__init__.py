"""Published pages of sites and of the programme."""
