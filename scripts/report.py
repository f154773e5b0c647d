"""Write the report of a set of runs. The same as `longlag report …`; --help says more."""

import sys

from longlag.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
