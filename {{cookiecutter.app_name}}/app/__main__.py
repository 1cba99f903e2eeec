"""`python -m app`: run the service until SIGTERM.

Exit codes: 0 after SIGTERM or SIGINT, 1 when the environment is not usable, 3 when the port is taken.
"""

import signal
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.zttp_impl import ZttpProtocol

from app.main import create_app
from app.settings import SettingsError

# Longer than the 60 seconds after which the load balancer closes an idle connection: the side that sends requests
# must be the one that closes.
KEEP_ALIVE_SECONDS = 65


def protocol(**arguments: Any) -> ZttpProtocol:
    """Return uvicorn's protocol on the parser that ignores an offer of `Upgrade: h2c` (RFC 9110, 7.8).

    The default, httptools, loses the body then: https://github.com/Kludex/uvicorn/issues/2722. This one hangs up when
    an address is not ASCII, where a client deserves an answer.
    """
    connection = ZttpProtocol(**arguments)
    receive = connection.data_received

    def data_received(data: bytes) -> None:
        try:
            receive(data)
        except UnicodeDecodeError:
            connection.send_400_response("The address has characters that must be percent-encoded.")

    connection.data_received = data_received  # type: ignore[method-assign]
    return connection


def main() -> int:
    """Run the service; return the exit code."""
    # uvicorn answers what it has accepted and raises the signal again: a good end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        app, settings = create_app()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    uvicorn.run(
        app,
        host=settings.listen_on,
        port=settings.port,
        loop="uvloop",
        http=protocol,  # type: ignore[arg-type] # it makes what the type says
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
