"""The tasks, one per file, and the contract that they keep (task.py)."""
