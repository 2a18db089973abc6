"""How a night went: manifest, metrics, history, failed nights."""
