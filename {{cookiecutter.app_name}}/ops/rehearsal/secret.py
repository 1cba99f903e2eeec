"""A secret, from `make secret` to the container: it is there, and nowhere else."""

from __future__ import annotations

import hashlib
import io
import secrets
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops.rehearsal import attackers
from ops.rehearsal.attempts import Attempt, attempt
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.edits import SECRET
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import Keys

if TYPE_CHECKING:
    from ops.rehearsal.steps import Jobs

STOPS = f"These secrets have no value in {{}}: {SECRET}."
SHOWS_HASH = f"import hashlib, os; print(hashlib.sha256(os.environ['{SECRET}'].encode()).hexdigest())"


def declared(run: Rehearsal) -> bool:
    """Whether project.yaml has the rehearsal's secret: not where a team has secrets of its own."""
    return SECRET in run.platform().project.secrets


def lacking(run: Rehearsal) -> list[str]:
    """Names of the secrets that have no value yet, sorted."""
    project = run.platform().project
    pages = (
        run.client("ssm")
        .get_paginator("describe_parameters")
        .paginate(ParameterFilters=[{"Key": "Path", "Option": "OneLevel", "Values": [project.names["secrets_path"]]}])
    )
    stored = {item["Name"].rpartition("/")[2] for page in pages for item in page["Parameters"]}
    return sorted(set(project.secrets) - stored)


def store(run: Rehearsal, image: str, keys: Keys) -> str:
    """See that a deployment stops while it has no value, and store one; returns it."""
    with run.progress.step("make secret") as bar:
        try:
            run.make(bar, "deploy", f"ENV={run.environment}", f"IMAGE={image}", "YES=1", keys=keys)
        except FailedError as error:
            if STOPS.format(run.environment) not in str(error):
                raise
        else:
            raise FailedError(f"make deploy went on although {SECRET} has no value.")
        value = secrets.token_urlsafe(32)
        run.make(bar, "secret", f"ENV={run.environment}", f"NAME={SECRET}", given=f"{value}\n")
        bar.detail = "a deployment without it stops before the service"
    return value


def prove(run: Rehearsal, bar: Bar, value: str, keys: Keys, played: Jobs) -> None:
    """See that the container has it, that nothing else does, and that no role but that of ECS reads it."""
    printed = run.make(bar, "run", f"ENV={run.environment}", f'CMD=python -c "{SHOWS_HASH}"', keys=keys)
    if hashlib.sha256(value.encode()).hexdigest() not in printed:
        raise FailedError(f"{SECRET} in the container is not what was stored:\n{printed}")
    found = sorted(where for where, text in _everything(run) if value.encode() in text)
    if found:
        raise FailedError(f"The value of {SECRET} is also in {', '.join(found)}.")
    name = f"{run.platform().project.names['secrets_path']}/{SECRET}"
    for who, with_keys in attackers.keys_of_all(run, bar, run.platform(), played).items():
        if with_keys is None or who == "execution":
            continue
        row = Attempt(
            who, "read a secret of the service", "ssm", "get_parameter", {"Name": name, "WithDecryption": True}
        )
        made = attempt(row, with_keys, {}, run.project.region, run.endpoint)
        if made is not None:
            run.findings.attempts.append(made)
            if not made.refused:
                raise FailedError(f"{made.who} may {made.what}: {made.because}")


def _everything(run: Rehearsal) -> Iterator[tuple[str, bytes]]:
    """What the run wrote (journal, logs, plans, project) and every version of every state, with where it is."""
    for path in run.directory.path.rglob("*"):
        if not path.is_file() or path.is_symlink() or ".terraform" in path.parts:
            continue
        where = str(path.relative_to(run.directory.path))
        try:
            whole = path.read_bytes()
        except FileNotFoundError:  # of a database that runs
            continue
        yield where, whole
        if zipfile.is_zipfile(io.BytesIO(whole)):
            with zipfile.ZipFile(io.BytesIO(whole)) as archive:
                yield from ((f"{where}: {name}", archive.read(name)) for name in archive.namelist())
    s3, bucket = run.client("s3"), run.project.names["state_bucket"]
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for item in page.get("Versions", []):
            version = s3.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
            yield f"state {item['Key']}", version["Body"].read()
