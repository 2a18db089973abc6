"""Known truth for the verdict: simulated sites, and real noise with an uplift added."""
