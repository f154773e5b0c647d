"""The cores, one per file, and the network that puts one between a task's encoder and head."""
