"""`python -m longlag` is the command `longlag`."""

from longlag.cli import main

if __name__ == "__main__":
    main()
