"""Edits of project.yaml by its text, as a person makes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VARIABLE = "REHEARSED"
# One that is there from the beginning, and one that a later deployment needs.
FIRST_SECRET, SECRET = "REHEARSED_FIRST", "REHEARSED_SECRET"
# The skeleton's worker; a message that it cannot take comes back soon, once.
WORKER = "example"
WORKERS = (
    f"workers: {{ {WORKER}: {{ command: [python, -m, app.worker, {WORKER}], "
    "min_tasks: 1, visibility_seconds: 2, max_receives: 1 } }"
)
# A job that succeeds and one that fails; the rehearsal's minutes are short.
JOB_WORKS, JOB_FAILS = "rehearsed-works", "rehearsed-fails"
FAILS_WITH = 3
JOBS = f"""
jobs:
  {JOB_WORKS}:
    command: [python, -c, 'import os; print("at work on " + os.environ["JOB_NAME"])']
    schedule: rate(4 minutes)
    timeout_minutes: 3
  {JOB_FAILS}:
    command: [python, -c, 'raise SystemExit({FAILS_WITH})']
    schedule: rate(4 minutes)
    timeout_minutes: 3
"""
# Small, so that a file which is too large is soon sent.
STORAGE = "storage: 's3'"
SCANNED = (
    "files: { content_types: [text/csv, image/png], max_megabytes: 1, cors_origins: ['https://rehearsed.example.com'], "
    "malware_scan: true }"
)
UNSCANNED = SCANNED.replace("malware_scan: true", "malware_scan: false")
OFFICE = "203.0.113.0/24"  # addresses for documentation


def declare(file: Path, partition: str) -> list[str]:
    """Declare one of each thing that a project may have and this one has not; returns what, in words.

    A team's own are rehearsed as they are. `partition` is that of the project's region.
    """
    text = file.read_text(encoding="utf-8")
    app = file.parent / "app"
    declared = []
    if (none := "\n  secrets: []\n") in text:
        text = text.replace(none, f"\n  secrets: [{FIRST_SECRET}]\n", 1)
        declared.append(f"secret {FIRST_SECRET}")
    if (none := "\nworkers: {}\n") in text and (app / "worker.py").exists():
        text = text.replace(none, f"\n{WORKERS}\n", 1)
        declared.append(f"worker {WORKER}")
    if (none := "\njobs: {}\n") in text:
        text = text.replace(none, JOBS, 1)
        declared.append("two scheduled jobs")
    none = "\nstorage: 'none'"
    if none in text and "\nfiles: {}\n" in text and (app / "routes" / "files.py").exists():
        files = UNSCANNED if partition == "aws-cn" else SCANNED  # GuardDuty scans no buckets in China
        text = text.replace(none, f"\n{STORAGE}", 1).replace("\nfiles: {}\n", f"\n{files}\n", 1)
        declared.append("storage s3")
    file.write_text(text, encoding="utf-8")
    return declared


def change(file: Path, environment: str, zones: int) -> list[str]:
    """Change a setting of each layer of an environment; returns what was changed, in words.

    `zones` is the number of zones of the environment's network, which limits that of its endpoints. Raises ValueError where
    the file has no such environment.
    """
    text = file.read_text(encoding="utf-8")
    start = re.search(rf"(?m)^  {re.escape(environment)}:\n", text)
    if start is None:
        raise ValueError(f"project.yaml has no environment {environment}")
    changed = []
    for setting, most in (("endpoint_zones", zones), ("max_capacity", None), ("max_tasks", None)):
        match = re.compile(rf"(?m)^(      {setting}: )(\d+)").search(text, start.end())
        if match:
            value = str(int(match[2]) + (-1 if int(match[2]) == most else 1))
            text = text[: match.start(2)] + value + text[match.end(2) :]
            changed.append(f"{setting} {match[2]} → {value}")
    everybody = re.compile(r"(?m)^(    ingress:\n      cidrs: )\[\]").search(text, start.end())
    if everybody:
        text = text[: everybody.start()] + f"{everybody[1]}[{OFFICE}]" + text[everybody.end() :]
        changed.append(f"callers everybody → {OFFICE}")
    if (empty := "\n  variables: {}\n") in text:
        text = text.replace(empty, f"\n  variables: {{ {VARIABLE}: 'yes' }}\n", 1)
        changed.append(f"variable {VARIABLE}")
    if (first := f"\n  secrets: [{FIRST_SECRET}]\n") in text:
        text = text.replace(first, f"\n  secrets: [{FIRST_SECRET}, {SECRET}]\n", 1)
        changed.append(f"secret {SECRET}")
    file.write_text(text, encoding="utf-8")
    return changed


def trust_region(render: Path, region: str) -> None:
    """Add an authority of RDS in the region where the bundle has none, as `make up` asks a person to do.

    AWS's own is not to be had here: this one has its name, and signs nothing.
    """
    bundle = render / "role_manager" / "rds-ca-bundle.pem"
    if not bundle.is_file():
        return
    text = bundle.read_bytes()
    subjects = [certificate.subject.rfc4514_string() for certificate in x509.load_pem_x509_certificates(text)]
    if any(f"CN=Amazon RDS {region} Root CA " in subject for subject in subjects):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Amazon RDS {region} Root CA rehearsed")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle.write_bytes(text.rstrip() + b"\n" + certificate.public_bytes(serialization.Encoding.PEM))


def unprotect(file: Path, environment: str) -> None:
    """Set `protected: false` for an environment."""
    text = file.read_text(encoding="utf-8")
    pattern = rf"(?ms)^(  {re.escape(environment)}:\n.*?^    protected: )true"
    file.write_text(re.sub(pattern, r"\1false", text, count=1), encoding="utf-8")
