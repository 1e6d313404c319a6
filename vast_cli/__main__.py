"""`python -m vast_cli` is the command `vast`."""

from vast_cli.cli.app import main

if __name__ == "__main__":
    main()
