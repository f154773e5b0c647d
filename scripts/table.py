"""Print the table of a set of runs. The same as `longlag table …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["table", *sys.argv[1:]])
