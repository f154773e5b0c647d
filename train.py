"""`python train.py model=lstm task=copy lag=1000`: the same as `longlag train …`."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
