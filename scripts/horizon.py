"""Search for the memory horizon of a model. See `longlag.commands.horizon` or --help."""

from longlag.commands.horizon import command

if __name__ == "__main__":
    command()
