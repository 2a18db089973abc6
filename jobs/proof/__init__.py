"""The chain of nights, evidence packs and their key."""
