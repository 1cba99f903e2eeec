"""Uploads by a form, as browsers send them to S3: read as the PutObject that they become.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

from __future__ import annotations

import io
import re
from urllib.parse import quote

from ops.laptop import signing
from ops.rehearsal.simulator.requests import FORM, Environ

__all__ = ["FORM", "check", "read"]


def read(environ: Environ, body: bytes) -> bytes:
    """Make an upload to a bucket the call that it stands for, in the environ; returns the body of it."""
    bucket = re.fullmatch(r"/([a-z0-9.-]+)/?", environ.get("PATH_INFO", ""))
    content_type = environ.get("CONTENT_TYPE", "")
    if environ["REQUEST_METHOD"] != "POST" or not bucket or not content_type.startswith("multipart/form-data"):
        return body
    try:
        form = signing.read_form(content_type, body)
    except signing.RefusedError:
        return body  # a POST that nobody signed
    fields = form.fields
    name = fields.get("key", "")
    credential = fields.get("x-amz-credential", "")
    environ.update(
        {
            FORM: form,
            "rehearsal.bucket": bucket[1],
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": f"/{bucket[1]}/{name}",
            "RAW_URI": f"/{bucket[1]}/{quote(name)}",
            "REQUEST_URI": f"/{bucket[1]}/{quote(name)}",
            "QUERY_STRING": "",
            "CONTENT_TYPE": fields.get("content-type", "binary/octet-stream"),
            "CONTENT_LENGTH": str(len(form.file)),
            "HTTP_CONTENT_DISPOSITION": fields.get("content-disposition", ""),
            # moto looks whether somebody signed; guard.py has checked the form.
            "HTTP_AUTHORIZATION": f"{signing.ALGORITHM} Credential={credential}, ",
            "wsgi.input": io.BytesIO(form.file),
        }
    )
    return form.file


def check(environ: Environ, secret: str) -> None:
    """Check an upload against the policy that was signed. Raises signing.RefusedError."""
    signing.check_form(environ[FORM], environ["rehearsal.bucket"], secret)
