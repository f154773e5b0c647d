"""How far back a model can learn to remember: see `longlag.commands.horizon`, or --help."""

from longlag.commands.horizon import command

if __name__ == "__main__":
    command()
