"""Test the saved weights of a run at other lags. The same as `longlag evaluate …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
