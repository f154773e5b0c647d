"""Test the saved weights of a run at other lags. See `longlag.commands.evaluate` or --help."""

from longlag.commands.evaluate import command

if __name__ == "__main__":
    command()
