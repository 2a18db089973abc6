"""Sites, episodes, promises, calibrations, lots and alerts, as the ledger records them."""
