"""The tasks, one per file, and their common contract (task.py)."""
