"""Draw what the gates of a trained LSTM or GRU do. The same as `longlag gates …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["gates", *sys.argv[1:]])
