"""Update what is stored of sites: find the missing scenes, read them, judge them and store them."""
