"""Print the table of a set of runs. See `longlag.commands.table` or --help."""

from longlag.commands.table import command

if __name__ == "__main__":
    command()
