"""Find the memory horizon of a model. The same as `longlag horizon …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["horizon", *sys.argv[1:]])
