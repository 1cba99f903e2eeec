"""Application Auto Scaling: tags of a target."""

import json
from typing import Any

from moto.applicationautoscaling.models import ApplicationAutoscalingBackend
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps


def _tags(backend: ApplicationAutoscalingBackend, arn: str) -> dict[str, str]:
    return backend.__dict__.setdefault("tags_by_arn", {}).setdefault(arn, {})  # type: ignore[no-any-return]


@gap("aws_appautoscaling_target", "tags given at registration are dropped")
@wraps(ApplicationAutoScalingResponse, "register_scalable_target")
def register_scalable_target(original: Any, response: ApplicationAutoScalingResponse) -> Any:
    answer = original(response)
    _tags(response.applicationautoscaling_backend, json.loads(answer)["ScalableTargetARN"]).update(
        response._get_param("Tags") or {}
    )
    return answer


@gap("aws_appautoscaling_target", "listing and changing tags is not implemented")
@adds(ApplicationAutoScalingResponse)
def list_tags_for_resource(self: ApplicationAutoScalingResponse) -> str:
    return json.dumps({"Tags": _tags(self.applicationautoscaling_backend, self._get_param("ResourceARN"))})


@adds(ApplicationAutoScalingResponse)
def tag_resource(self: ApplicationAutoScalingResponse) -> str:
    _tags(self.applicationautoscaling_backend, self._get_param("ResourceARN")).update(self._get_param("Tags"))
    return "{}"


@adds(ApplicationAutoScalingResponse)
def untag_resource(self: ApplicationAutoScalingResponse) -> str:
    tags = _tags(self.applicationautoscaling_backend, self._get_param("ResourceARN"))
    for key in self._get_param("TagKeys"):
        tags.pop(key, None)
    return "{}"
