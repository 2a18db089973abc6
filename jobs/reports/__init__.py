"""Reports on a night: manifest, metrics, history, failed nights."""
