"""`python -m app.healthcheck`, so that the image needs no curl: 0 when /health answers 200 in two seconds, else 1."""

import http.client
import os
import sys


def main() -> int:
    """Ask the service in this container."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=2)
        connection.request("GET", "/health")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"/health did not answer: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
