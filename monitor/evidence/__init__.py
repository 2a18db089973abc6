"""Evidence that others check without us: packs, signatures, the chain of nights, recomputation."""
