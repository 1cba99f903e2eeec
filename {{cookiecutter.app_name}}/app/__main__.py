"""`python -m app`: run until SIGTERM (exit code 0; 1: the environment is not usable; 3: the port is taken)."""

import gc
import signal
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.zttp_impl import ZttpProtocol

from app.main import create_app
from app.settings import SettingsError


def protocol(**arguments: Any) -> ZttpProtocol:
    """Return uvicorn's protocol that ignores an offer of `Upgrade: h2c`, and answers an address that is not ASCII.

    Its default loses the body of a request with such an offer: https://github.com/Kludex/uvicorn/issues/2722.
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
    # What is here now stays: the collector need not go through it for every few requests.
    # https://docs.python.org/3/library/gc.html#gc.freeze
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=settings.listen_on,
        port=settings.port,
        loop="uvloop",
        http=protocol,  # type: ignore[arg-type] # it makes what the type says
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        workers=1,  # Whatever WEB_CONCURRENCY says: ECS adds tasks.
        # The load balancer closes an idle connection after 60 seconds, and must be the one that does: it sends.
        timeout_keep_alive=65,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
