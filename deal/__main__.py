"""``python -m deal``: the command ``deal``."""

from deal.cli import main

if __name__ == "__main__":
    main()
