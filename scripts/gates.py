"""Show how the gates of a trained LSTM or GRU behave. See `longlag.commands.gates` or --help."""

from longlag.commands.gates import command

if __name__ == "__main__":
    command()
