"""Files that callers upload to a bucket, and download from it, by URLs that are signed here.

The files themselves pass the service by: S3 holds each upload to the type and the size that were signed. What belongs to
whom is for you to know: whoever has a file's id gets the file.
"""

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from app.settings import FromEnvironment

log = logging.getLogger(__name__)

router = APIRouter(prefix="/files", tags=["files"])
# How long a URL is good. The keys of a task, with which it is signed, last longer: they are renewed ten minutes before.
SECONDS = 300
FileId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class FilesSettings(FromEnvironment):
    """The bucket, and what may be stored in it."""

    files_bucket: str = Field(description="name of the bucket")
    files_content_types: list[str] = Field(description='media types that are taken, such as ["image/png"]')
    files_max_bytes: int = Field(ge=1, le=5 * 10**9, description="largest file, in bytes")
    aws_region: str = Field(description="region of the bucket")


def _say_which(schema: dict[str, Any]) -> None:
    """Write into the OpenAPI document of a running service which types it takes."""
    if limits := getattr(files, "limits", None):
        schema["enum"] = limits.files_content_types


class NewFile(BaseModel):
    """What a client says about a file that it wants to upload."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]*$")
    content_type: str = Field(max_length=200, json_schema_extra=_say_which)


class Upload(BaseModel):
    """How to upload a file: a POST of a form to the URL, with all fields and then the file, as `file`."""

    id: str
    url: str
    fields: dict[str, str]
    max_bytes: int
    expires_at: datetime


class File(BaseModel):
    """A file that is there, and a URL that gives it."""

    id: str
    content_type: str
    size: int
    url: str
    expires_at: datetime


class Files:
    """The bucket."""

    name = "files"
    settings = FilesSettings

    @contextlib.asynccontextmanager
    async def running(self, settings: FilesSettings) -> AsyncIterator[None]:
        """Make the client, beside the start of the service; nobody is asked yet."""
        self.limits = settings
        self._client = asyncio.create_task(asyncio.to_thread(_connect, settings.aws_region))
        yield
        self._client.cancel()

    async def ready(self) -> str:
        """Ask whether the bucket is there: 503 when S3 does not say so."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            await self._call("head_bucket", Bucket=self.limits.files_bucket)
        except (BotoCoreError, ClientError) as error:
            log.warning("the bucket: %s", error)
            raise HTTPException(503, "The bucket of files can not be asked.") from None
        return f"bucket {self.limits.files_bucket}"

    async def upload(self, identity: str, new: NewFile) -> dict[str, Any]:
        """Sign an upload of this type and name, and of no more than the limit."""
        fields = {
            "Content-Type": new.content_type,
            # Browsers save it under its name, and show nothing that a stranger uploaded as if it were a page of yours.
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(new.name, safe='')}",
        }
        conditions = [
            *({name: value} for name, value in fields.items()),
            ["content-length-range", 1, self.limits.files_max_bytes],
        ]
        signed: dict[str, Any] = await self._call(
            "generate_presigned_post",
            self.limits.files_bucket,
            identity,
            Fields=fields,
            Conditions=conditions,
            ExpiresIn=SECONDS,
        )
        return signed

    async def find(self, identity: str) -> dict[str, Any] | None:
        """Return what S3 knows of a file, None for one that is not there or that it gives to nobody."""
        from botocore.exceptions import ClientError

        place = {"Bucket": self.limits.files_bucket, "Key": identity}
        try:
            found: dict[str, Any] = await self._call("head_object", **place)
        except ClientError as error:
            if error.response["Error"]["Code"] == "403":  # Not scanned yet, or found to hold malware.
                log.warning("file %s is not given out", identity)
            elif error.response["Error"]["Code"] != "404":
                raise
            return None
        return found | {"url": await self._call("generate_presigned_url", "get_object", place, ExpiresIn=SECONDS)}

    async def _call(self, operation: str, *arguments: Any, **named: Any) -> Any:
        client = await asyncio.shield(self._client)
        return await asyncio.to_thread(getattr(client, operation), *arguments, **named)


def _connect(region: str) -> Any:
    # Imported here: in a thread, and only where there is a bucket.
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        connect_timeout=3,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 2},
        signature_version="s3v4",
        # URLs name the region: the global name leads callers of a new bucket elsewhere.
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    )
    return get_session().create_client("s3", region_name=region, config=config)


files = Files()
parts = (files,)


def wanted() -> bool:
    """Whether these routes are part of the service: where project.yaml has storage."""
    return bool(os.environ.get("FILES_BUCKET"))


def _expires_at() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=SECONDS)


@router.post("", status_code=201)
async def create_file(new: NewFile) -> Upload:
    """Get what is needed to upload a file. Its id is made here: nobody chooses, or guesses, another's."""
    if new.content_type not in files.limits.files_content_types:
        raise HTTPException(422, f"content_type: one of {', '.join(files.limits.files_content_types)}")
    identity, expires_at = uuid.uuid4().hex, _expires_at()
    signed = await files.upload(identity, new)
    return Upload(id=identity, max_bytes=files.limits.files_max_bytes, expires_at=expires_at, **signed)


@router.get("/{file_id}")
async def get_file(file_id: FileId) -> File:
    """Get a URL that gives a file."""
    expires_at = _expires_at()
    if (found := await files.find(file_id)) is None:
        raise HTTPException(404, f"There is no file {file_id}, or it is not given out.")
    return File(
        id=file_id,
        content_type=found["ContentType"],
        size=found["ContentLength"],
        url=found["url"],
        expires_at=expires_at,
    )
