"""How a night went: manifest, metrics, history, quiet weeks, failed nights."""
