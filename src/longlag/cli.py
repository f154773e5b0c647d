"""The command `longlag`, and `python train.py`: what it is called with goes to `longlag.commands`."""

from longlag.commands.train import main

__all__ = ["main"]
