"""Compare published values with ours. The same as `longlag verify …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["verify", *sys.argv[1:]])
