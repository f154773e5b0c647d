"""One thin module for each command beside train.py, and how a command refuses: in one line."""
