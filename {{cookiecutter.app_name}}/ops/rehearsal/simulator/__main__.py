"""Serve the simulated AWS until standard input closes: `python -m ops.rehearsal.simulator SETTINGS`.

SETTINGS is a JSON file: `directory` (where the journal, logs and processes' files go), `account_id`, `accounts` (those
beside it; none when left out), `region`, `render` (the rendered repository whose code runs), `image` (the manifest of its image), `image_files` (the
service's files in an image that was built; those of the repository when left out), `port`
(0: any free one), `receiver` (the URL that stands in for every host on the internet) and `tag_lag_seconds` (how long the
tags of a new key do not count for IAM; 0 when left out). Prints `ready PORT` when it answers.

Calls are signed with keys that are known here: those of the user `administrator` (`identities.ADMINISTRATOR`), or those
that STS gave out. `github-oidc-key.pem` in the directory signs GitHub's tokens (`iam.web_identity.token`).
"""

import json
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Configure moto by its environment variables, which it reads on import, and serve."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ |= {
        # A certificate is issued as soon as it is asked for, not a minute later.
        "MOTO_ACM_VALIDATION_WAIT": "0",
        # AWS's managed policies exist in every account.
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        # No machine images: nothing here runs on EC2, and they cost half a second.
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
        # The simulator talks to itself and to processes on this machine, never through the proxy
        # that leads Terraform's S3 Control calls here.
        "NO_PROXY": "*",
    }
    os.environ.pop("HTTP_PROXY", None)

    from moto.core.config import default_user_config
    from moto.ec2.models.vpcs import VPCBackend
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from ops.rehearsal.simulator import aurora, balancer, ecs, functions, moto_additions, schedules
    from ops.rehearsal.simulator.journal import Journal
    from ops.rehearsal.simulator.moto_additions.gaps import GAPS
    from ops.rehearsal.simulator.world import World

    default_user_config["lambda"] = {"use_docker": False}

    class Handler(MotoRequestHandler):
        """Without a line on stderr for each request: the journal has them."""

        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    directory = Path(settings["directory"])
    world = World(
        directory=directory,
        account_id=settings["account_id"],
        accounts=tuple(settings.get("accounts", ())),
        region=settings["region"],
        render=Path(settings["render"]),
        endpoint="",
        receiver=settings["receiver"],
        tag_lag_seconds=settings.get("tag_lag_seconds", 0),
        image_files=Path(settings["image_files"]) if settings.get("image_files") else None,
    )
    application = Journal(DomainDispatcherApplication(create_backend_app), directory / "journal.jsonl", world)
    server = make_server("127.0.0.1", settings["port"], application, True, request_handler=Handler)
    world.endpoint = f"http://127.0.0.1:{server.server_port}"
    for part in (moto_additions, aurora, functions, schedules):
        part.install(world)
    balancer.install(world, ecs.install(world, settings["image"]))
    (directory / "gaps.json").write_text(json.dumps([vars(gap) for gap in GAPS]), encoding="utf-8")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # moto collects these on the first call, importing every service it has: seconds in which nobody waits.
    threading.Thread(
        target=VPCBackend._collect_default_endpoint_services,
        args=(settings["account_id"], settings["region"]),
        daemon=True,
    ).start()
    print(f"ready {server.server_port}", flush=True)  # noqa: T201 - what the caller waits for
    try:
        # The caller's end of this pipe closes when it ends, however it ends.
        sys.stdin.buffer.read()
    except KeyboardInterrupt:
        pass
    finally:
        world.close()


main()
