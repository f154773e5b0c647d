"""Write the report of a set of runs. See `longlag.commands.report` or --help."""

from longlag.commands.report import command

if __name__ == "__main__":
    command()
