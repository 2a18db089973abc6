"""Shared by all commands: settings, console, log, clock, locks, workers, secrets."""
