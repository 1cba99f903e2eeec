"""ECR: the last call of a pull."""

from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap


@gap("GetDownloadUrlForLayer", "not implemented: what a pull asks for each layer")
@adds(ECRResponse)
def get_download_url_for_layer(self: ECRResponse) -> ActionResult:
    digest = self._get_param("layerDigest")
    self.ecr_backend._get_repository(self._get_param("repositoryName"))
    return ActionResult({"downloadUrl": f"https://layers.invalid/{digest}", "layerDigest": digest})
