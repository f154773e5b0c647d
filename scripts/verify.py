"""Compare our results with published values. See `longlag.commands.verify` or --help."""

from longlag.commands.verify import command

if __name__ == "__main__":
    command()
