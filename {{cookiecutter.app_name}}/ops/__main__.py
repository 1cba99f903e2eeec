"""`python -m ops`."""

import sys
from io import TextIOWrapper

from ops.cli import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no such letter
    main()
