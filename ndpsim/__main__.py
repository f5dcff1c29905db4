"""`python -m ndpsim` is the command line."""

from ndpsim.cli.main import main

if __name__ == "__main__":
    main()
