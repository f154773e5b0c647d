"""`python train.py model=lstm task=copy lag=1000`: the same command that an installed package calls `longlag`."""

from longlag.cli import main

if __name__ == "__main__":
    main()
