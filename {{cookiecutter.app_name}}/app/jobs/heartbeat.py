"""`python -m app.jobs.heartbeat`: write a metric, which shows on a chart that jobs run. An example: delete or change it."""

import sys

from app import logs
from app.settings import Settings, SettingsError, read


def main() -> int:
    """Do the job; return the exit code."""
    try:
        (settings,) = read(Settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    logs.configure(settings)
    logs.metric("Heartbeats", 1, "Count")
    return 0


if __name__ == "__main__":
    sys.exit(main())
