"""The training of one run: the Lightning module and trainer, callbacks, checkpoints, budget and processes."""
