"""ECR: the last call of a pull, and the digest of what is pushed."""

import hashlib
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.models import ECRBackend
from moto.ecr.responses import ECRResponse

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps


@gap("GetDownloadUrlForLayer", "not implemented: what a pull asks for each layer")
@adds(ECRResponse)
def get_download_url_for_layer(self: ECRResponse) -> ActionResult:
    digest = self._get_param("layerDigest")
    self.ecr_backend._get_repository(self._get_param("repositoryName"))
    return ActionResult({"downloadUrl": f"https://layers.invalid/{digest}", "layerDigest": digest})


@gap("PutImage", "the digest is made of the layers alone, so images that differ in their configuration have the same")
@wraps(ECRBackend, "put_image")
def put_image(
    original: Any,
    backend: ECRBackend,
    repository: str,
    manifest: str,
    tag: str,
    media_type: str | None = None,
    digest: str | None = None,
) -> Any:
    # https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
    made = digest or f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
    return original(backend, repository, manifest, tag, media_type, made)
