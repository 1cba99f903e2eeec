"""`python -m app`: run the service until SIGTERM.

Exit codes: 0 after SIGTERM or SIGINT, 1 when the environment is not usable, 3 when the port is
taken.
"""

from __future__ import annotations

import os
import sys

from app.main import create_app
from app.server import serve
from app.settings import SettingsError
from app.telemetry import configure_logging


def main() -> int:
    """Run the service; return the exit code."""
    try:
        app, settings = create_app(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    configure_logging(settings.log_level)
    serve(app, settings.listen_on, settings.port, settings.stop_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
