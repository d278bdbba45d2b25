"""`python -m neuraltuning`: the command line of `neuraltuning.cli`."""

from neuraltuning.cli import main

if __name__ == "__main__":
    main()
