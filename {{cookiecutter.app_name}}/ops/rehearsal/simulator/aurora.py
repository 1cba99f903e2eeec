"""Aurora: each cluster that is created is a real PostgreSQL on this machine (`ops.laptop.postgres`).

Its master user, its password, its name and its TLS certificate are the cluster's.
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.rds.models import DBCluster, RDSBackend

from ops import answers
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World


def install(world: World) -> None:
    """Start and stop PostgreSQL with the clusters; do nothing in a render without a database."""
    try:
        postgres: Any = importlib.import_module("ops.laptop.postgres")
    except ModuleNotFoundError:
        return
    servers: dict[str, Any] = {}

    def start(cluster: DBCluster) -> None:
        extensions = (answers.read(world.render / "project.yaml").get("database_roles") or {}).get("extensions") or ()
        majors = {found.version for found in postgres.installations(extensions) or postgres.installations()}
        wanted = int(str(cluster.engine_version).partition(".")[0])
        secret = json.loads(cluster.master_user_secret.secret.secret_string or "{}")
        server = postgres.LocalPostgres(
            version=wanted if wanted in majors else None,
            names=(cluster.endpoint, cluster.reader_endpoint),
            database=cluster.database_name or "postgres",
            master=cluster.master_username,
            region=world.region,
            extensions=extensions,
        )
        try:
            server.start()
            with server.superuser() as connection:
                # ALTER ROLE takes no parameters; the password is made of URL-safe characters.
                connection.run(f"ALTER ROLE \"{cluster.master_username}\" PASSWORD '{secret['password']}'")
        except Exception as error:  # noqa: BLE001 - whatever it is ends the rehearsal, by its own words
            world.note(
                "journal",
                at=round(time.time(), 3),
                service="rds",
                call="CreateDBCluster",
                problem=f"PostgreSQL did not start: {error}",
            )
            return
        # Clients believe that they talk to the cluster's own port, and make their tokens for it.
        server.front.port = cluster.port
        servers[cluster.endpoint] = server
        world.authorities[cluster.endpoint] = Path(server.ca_file).read_text(encoding="ascii")
        for name in server.names:
            world.databases[name] = (server.host, server.port)
        world.note(
            "databases",
            cluster=cluster.db_cluster_identifier,
            version=server.version,
            wanted=wanted,
            port=server.port,
            ca_file=str(server.ca_file),
            database=server.database,
            superuser=postgres.SUPERUSER,
            superuser_password=server.superuser_password,
            superuser_socket=str(server.socket_path),
        )

    def stop(endpoint: str) -> None:
        if (server := servers.pop(endpoint, None)) is not None:
            for name in server.names:
                world.databases.pop(name, None)
            world.authorities.pop(endpoint, None)
            server.stop()

    def stop_all() -> None:
        for endpoint in list(servers):
            stop(endpoint)

    world.closers.append(stop_all)

    @gap("aws_rds_cluster", "there is no database behind it")
    @wraps(RDSBackend, "create_db_cluster")
    def create(original: Any, backend: RDSBackend, kwargs: dict[str, Any]) -> DBCluster:
        cluster: DBCluster = original(backend, kwargs)
        # In the background: the provider does not look for half a minute.
        threading.Thread(target=start, args=(cluster,), daemon=True).start()
        return cluster

    @wraps(RDSBackend, "delete_db_cluster")
    def delete(original: Any, backend: RDSBackend, *args: Any, **kwargs: Any) -> DBCluster:
        cluster: DBCluster = original(backend, *args, **kwargs)
        threading.Thread(target=stop, args=(cluster.endpoint,), daemon=True).start()
        return cluster


def trust(world: World, directory: Path) -> None:
    """Add the authorities of this machine's clusters to the certificate bundles of a package or an image.

    Clients verify a cluster's certificate by name and by chain as they do on AWS; what differs is
    that Amazon did not sign it.
    """
    authorities = list(world.authorities.values())
    for bundle in directory.rglob("*ca-bundle*.pem") if authorities else ():
        text = bundle.read_text(encoding="ascii")
        missing = [authority for authority in authorities if authority not in text]
        if missing:
            bundle.write_text("\n".join([text.rstrip("\n"), *missing]), encoding="ascii")
