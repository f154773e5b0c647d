"""The cores, one per file, and the network that puts a core between a task's encoder and head."""
