"""What the monitor remembers about sites, runs, series, assessments and alerts."""
