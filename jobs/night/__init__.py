"""The night itself: fetch, judge, check itself."""
