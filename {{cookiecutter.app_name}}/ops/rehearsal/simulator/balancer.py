"""Load balancers: each one listens on a port of this machine and forwards to a healthy target.

The port stands for the listener that forwards; what the listener adds (TLS, a redirect) is in its
configuration, which is read and not acted out.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps
from ops.rehearsal.simulator.services import Services

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World


def install(world: World, services: Services) -> None:
    """Listen for each load balancer that is created; say where in the run's `balancers` file."""

    @gap("aws_lb", "nothing listens")
    @wraps(ELBv2Backend, "create_load_balancer")
    def create(original: Any, backend: ELBv2Backend, *args: Any, **kwargs: Any) -> FakeLoadBalancer:
        balancer: FakeLoadBalancer = original(backend, *args, **kwargs)
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        world.note("balancers", name=balancer.name, port=listener.getsockname()[1])
        threading.Thread(target=accept, args=(backend, balancer, listener), daemon=True).start()
        return balancer

    def accept(backend: ELBv2Backend, balancer: FakeLoadBalancer, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(backend, balancer, client), daemon=True).start()

    def serve(backend: ELBv2Backend, balancer: FakeLoadBalancer, client: socket.socket) -> None:
        with client:
            port = target(backend, balancer)
            if port is None:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join()

    def target(backend: ELBv2Backend, balancer: FakeLoadBalancer) -> int | None:
        for found in balancer.listeners.values():
            for action in found.default_actions:
                arn = action.data.get("TargetGroupArn")
                for forwarded in action.data.get("ForwardConfig", {}).get("TargetGroups", []):
                    arn = arn or forwarded.get("TargetGroupArn")
                if arn in backend.target_groups:
                    return services.healthy_port(backend.target_groups[arn])
        return None


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until the source ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
