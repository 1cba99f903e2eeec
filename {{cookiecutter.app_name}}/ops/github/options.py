"""Options that several of the jobs' commands have; their values come from the environment of the job."""

from __future__ import annotations

import click

environment = click.option("--env", "environment", envvar="ENV", default=None, help="Environment.")
image = click.option("--image", envvar="IMAGE", required=True, help="Digest, commit or tag of the image.")
pull_request = click.option(
    "--pull-request", envvar="PULL_REQUEST", required=True, type=int, metavar="N", help="Number of the pull request."
)
