"""What every command needs of the machine: settings, console, log, clock, locks, workers, secrets."""
