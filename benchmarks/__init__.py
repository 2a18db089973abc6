"""Side by side with peers, in one run: ratios, never a promise of seconds."""
