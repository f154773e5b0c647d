"""One thin module for each command; `errors` reports errors in one line, `guard` checks Hydra's own settings."""
