"""The bucket of files, where project.yaml has storage."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from ops.laptop.bucket import Bucket
from ops.laptop.dev import settings

# As infra/config fills them in.
DEFAULTS = {"content_types": ["image/jpeg", "image/png", "application/pdf"], "max_megabytes": 10, "cors_origins": []}


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield where the bucket is, which runs until the end; nothing without storage."""
    project = settings()
    if project.get("storage", "none") == "none":
        yield {}
        return
    files = DEFAULTS | (project.get("files") or {})
    folder = directory / "files" if directory else None
    bucket = Bucket("laptop-files", environment["AWS_SECRET_ACCESS_KEY"], folder, files["cors_origins"])
    bucket.start()
    try:
        yield {
            "AWS_ENDPOINT_URL_S3": bucket.url,
            "FILES_BUCKET": bucket.name,
            "FILES_CONTENT_TYPES": json.dumps(files["content_types"]),
            "FILES_MAX_BYTES": str(files["max_megabytes"] * 1000 * 1000),
        }
    finally:
        bucket.shutdown()
        bucket.server_close()
