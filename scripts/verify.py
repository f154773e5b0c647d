"""Published values beside ours: see `longlag.commands.verify`, or --help."""

from longlag.commands.verify import command

if __name__ == "__main__":
    command()
