"""`python -m unspoken`."""

import sys

from unspoken.cli import main

if __name__ == "__main__":
    sys.exit(main())
