"""The HTTP server: uvicorn, with limits on request heads and a shutdown that fails no request."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.gateway import HEADER_BYTES
from app.problems import MEDIA_TYPE, problem_body

# Longer than the 60 seconds after which the load balancer closes an idle connection: the side that
# sends requests must be the one that closes.
KEEP_ALIVE_SECONDS = 65
HEAD_SECONDS = 10
DRAIN_SECONDS = 1.0
# Longer than a handshake's way to a client in the same region and back.
HANDSHAKE_SECONDS = 0.05
# What a client may go on sending after it was refused, so that it can finish and read the answer.
DISCARDED_BYTES = 64_000_000


class Protocol(HttpToolsProtocol):
    """A connection that must deliver a request's head within time and size."""

    _head_bytes = 0
    _discarded_bytes = 0
    _reading_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what arrives for a head that is not complete and for a body that nobody wants."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES:
                self._refuse(431, "The head of the request is too large.")
            elif self._head_timer is None:
                self._start_head_timer()
        elif self.cycle is not None and self.cycle.response_complete:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARDED_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count for the next head."""
        super().on_message_begin()
        self._reading_head = True
        self._head_bytes = self._discarded_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._reading_head = False
        self._stop_head_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, msg)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(
            HEAD_SECONDS, self._refuse, 408, "The head of the request did not arrive in time."
        )

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy:  # Otherwise these bytes would land inside the answer to an earlier request.
            body = problem_body(status, detail)
            head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """A server that ends with exit code 0 on SIGTERM and SIGINT, after the last answer."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        # Closing a listener resets the connections that wait in its queue. This second handle of it
        # keeps the queue alive until they have been accepted.
        self._queue = listener.dup()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown; uvicorn's own would raise the signal again when it is done."""
        self.should_exit = True

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Stop accepting, let connections that are open finish, and close them."""
        # From now on every answer closes its connection.
        self.server_state.default_headers.append((b"connection", b"close"))
        _refuse_handshakes(self._queue)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        for server in self.servers:
            server.close()
        await self._accept_the_rest()
        # A request may be on its way on a connection that is idle now.
        clock = asyncio.get_running_loop().time
        deadline = clock() + DRAIN_SECONDS
        while self.server_state.connections and clock() < deadline:  # noqa: ASYNC110 - uvicorn's set
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _accept_the_rest(self) -> None:
        self._queue.setblocking(False)
        accepted = []
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted.append(self._queue.accept()[0])
        self._queue.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            await loop.connect_accepted_socket(
                lambda: Protocol(self.config, self.server_state, self.lifespan.state), connection
            )


def _refuse_handshakes(listener: socket.socket) -> None:
    """Let no new connection into the listener's queue, so that the queue can be emptied before it is closed.

    A filter of Linux's (socket(7), SO_ATTACH_FILTER) drops each packet that opens a connection. Its client
    tries again a second later (RFC 6298, 2.1), and is refused then. Elsewhere, a connection that comes between
    the last look into the queue and its end is reset.
    """
    if sys.platform != "linux":
        return
    so_attach_filter = 26  # asm-generic/socket.h; Python has no name for it
    instructions = (
        (0x30, 0, 0, 13),  # load the byte of the TCP flags
        (0x45, 0, 1, 0x02),  # SYN?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    program = struct.pack("HP", len(instructions), ctypes.addressof(code))
    # Newer kernels want CAP_NET_ADMIN for it.
    with contextlib.suppress(PermissionError):
        listener.setsockopt(socket.SOL_SOCKET, so_attach_filter, program)


def serve(app: Any, host: str, port: int, stop_seconds: float) -> None:
    """Serve `app` until SIGTERM. Exits with 3 when the port is taken."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(stop_seconds - DRAIN_SECONDS)),
    )
    listener = config.bind_socket()
    Server(config, listener).run(sockets=[listener])
