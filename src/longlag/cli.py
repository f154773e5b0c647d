"""Entry point of the command `longlag` and of `python train.py`; the command itself is in `longlag.commands`."""

from longlag.commands.train import main

__all__ = ["main"]
