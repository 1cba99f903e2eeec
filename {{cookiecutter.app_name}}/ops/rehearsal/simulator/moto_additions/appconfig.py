"""AppConfig: environments, deployment strategies, deployments, and the AppConfigData service."""

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from botocore.exceptions import ClientError
from moto.appconfig import urls
from moto.appconfig.models import (
    AppConfigBackend,
    Application,
    ConfigurationProfile,
    HostedConfigurationVersion,
)
from moto.appconfig.responses import AppConfigResponse
from moto.core.exceptions import JsonRESTError
from moto.moto_api._internal import mock_random
from moto.utilities.utils import get_partition

from ops.rehearsal.simulator.identities import RefusedError
from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

FLAGS = "AWS.AppConfig.FeatureFlags"

# Strategies that every account has: duration and bake time in minutes, growth in percent, its type.
# https://docs.aws.amazon.com/appconfig/latest/userguide/appconfig-creating-deployment-strategy-predefined.html
PREDEFINED = {
    "AppConfig.AllAtOnce": (0, 10, 100.0, "LINEAR"),
    "AppConfig.Linear50PercentEvery30Seconds": (1, 1, 50.0, "LINEAR"),
    "AppConfig.Linear20PercentEvery6Minutes": (30, 30, 20.0, "LINEAR"),
    "AppConfig.Canary10Percent20Minutes": (20, 10, 10.0, "EXPONENTIAL"),
}

for _path in (
    "/applications/(?P<app_id>[^/]+)/environments$",
    "/applications/(?P<app_id>[^/]+)/environments/(?P<environment_id>[^/]+)$",
    "/applications/(?P<app_id>[^/]+)/environments/(?P<environment_id>[^/]+)/deployments$",
    "/applications/(?P<app_id>[^/]+)/environments/(?P<environment_id>[^/]+)/deployments/(?P<n>[^/]+)$",
    "/deploymentstrategies$",
    "/deploymentstrategies/(?P<strategy_id>[^/]+)$",
    # AWS's own path for the deletion has this spelling.
    "/deployementstrategies/(?P<strategy_id>[^/]+)$",
):
    urls.url_paths["{0}" + _path] = AppConfigResponse.dispatch


class BadRequestError(JsonRESTError):
    """What AppConfig refuses."""

    def __init__(self, message: str) -> None:
        super().__init__("BadRequestException", message)


class NotFoundError(JsonRESTError):
    """What AppConfig does not have."""

    code = 404

    def __init__(self, what: str) -> None:
        super().__init__("ResourceNotFoundException", f"{what} not found")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _arn(backend: AppConfigBackend, resource: str) -> str:
    partition = get_partition(backend.region_name)
    return f"arn:{partition}:appconfig:{backend.region_name}:{backend.account_id}:{resource}"


def _environments(application: Application) -> dict[str, dict[str, Any]]:
    return application.__dict__.setdefault("environments", {})  # type: ignore[no-any-return]


def _environment(response: AppConfigResponse) -> dict[str, Any]:
    application = response.appconfig_backend.get_application(response._get_param("ApplicationId"))
    wanted = response._get_param("EnvironmentId")
    if wanted not in _environments(application):
        raise NotFoundError("Environment")
    return _environments(application)[wanted]


def _shown(environment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name != "Deployments"}


@gap("aws_appconfig_environment", "not implemented")
@adds(AppConfigResponse)
def create_environment(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    application = self.appconfig_backend.get_application(self._get_param("ApplicationId"))
    name = self._get_param("Name")
    if any(environment["Name"] == name for environment in _environments(application).values()):
        raise BadRequestError(f"Environment {name} exists already")
    environment = {
        "ApplicationId": application.id,
        "Id": mock_random.get_random_hex(7),
        "Name": name,
        "Description": self._get_param("Description"),
        "State": "READY_FOR_DEPLOYMENT",
        "Monitors": self._get_param("Monitors") or [],
        "Deployments": [],
    }
    _require_alarms(self.appconfig_backend, environment)
    _environments(application)[environment["Id"]] = environment
    self.appconfig_backend.tag_resource(
        _arn(self.appconfig_backend, f"application/{application.id}/environment/{environment['Id']}"),
        self._get_param("Tags") or {},
    )
    return json.dumps(_shown(environment)), {"status": 201}


@adds(AppConfigResponse)
def get_environment(self: AppConfigResponse) -> str:
    return json.dumps(_shown(_environment(self)))


@adds(AppConfigResponse)
def list_environments(self: AppConfigResponse) -> str:
    application = self.appconfig_backend.get_application(self._get_param("ApplicationId"))
    return json.dumps({"Items": [_shown(e) for e in _environments(application).values()]})


@adds(AppConfigResponse)
def update_environment(self: AppConfigResponse) -> str:
    environment = _environment(self)
    new = {n: v for n in ("Name", "Description", "Monitors") if (v := self._get_param(n)) is not None}
    _require_alarms(self.appconfig_backend, environment | new)
    environment |= new
    return json.dumps(_shown(environment))


@adds(AppConfigResponse)
def delete_environment(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    environment = _environment(self)
    application = self.appconfig_backend.get_application(self._get_param("ApplicationId"))
    del _environments(application)[environment["Id"]]
    return "", {"status": 204}


@gap("aws_appconfig_application", "a list of them is not implemented")
@adds(AppConfigResponse)
def list_applications(self: AppConfigResponse) -> str:
    return json.dumps({"Items": [a.to_json() for a in self.appconfig_backend.applications.values()]})


@wraps(AppConfigBackend, "delete_application")
def delete_application(original: Any, backend: AppConfigBackend, app_id: str) -> None:
    application = backend.get_application(app_id)
    if _environments(application) or application.config_profiles:
        raise BadRequestError("Cannot delete an application with environments or configuration profiles")
    original(backend, app_id)


def _strategies(backend: AppConfigBackend) -> dict[str, dict[str, Any]]:
    return backend.__dict__.setdefault(  # type: ignore[no-any-return]
        "strategies",
        {
            name: _strategy(name, name, "Predefined", duration, bake, growth, kind, "SSM_DOCUMENT")
            for name, (duration, bake, growth, kind) in PREDEFINED.items()
        },
    )


def _strategy(
    identifier: str,
    name: str,
    description: str | None,
    duration: int,
    bake: int,
    growth: float,
    kind: str,
    replicate_to: str,
) -> dict[str, Any]:
    return {
        "Id": identifier,
        "Name": name,
        "Description": description,
        "DeploymentDurationInMinutes": duration,
        "GrowthType": kind,
        "GrowthFactor": growth,
        "FinalBakeTimeInMinutes": bake,
        "ReplicateTo": replicate_to,
    }


@gap("aws_appconfig_deployment_strategy", "not implemented")
@adds(AppConfigResponse)
def create_deployment_strategy(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    strategy = _strategy(
        mock_random.get_random_hex(7),
        self._get_param("Name"),
        self._get_param("Description"),
        self._get_param("DeploymentDurationInMinutes"),
        self._get_param("FinalBakeTimeInMinutes") or 0,
        self._get_param("GrowthFactor"),
        self._get_param("GrowthType") or "LINEAR",
        self._get_param("ReplicateTo") or "NONE",
    )
    _strategies(self.appconfig_backend)[strategy["Id"]] = strategy
    self.appconfig_backend.tag_resource(
        _arn(self.appconfig_backend, f"deploymentstrategy/{strategy['Id']}"),
        self._get_param("Tags") or {},
    )
    return json.dumps(strategy), {"status": 201}


def _found_strategy(response: AppConfigResponse, identifier: str) -> dict[str, Any]:
    strategies = _strategies(response.appconfig_backend)
    if identifier not in strategies:
        raise NotFoundError("Deployment strategy")
    return strategies[identifier]


@adds(AppConfigResponse)
def get_deployment_strategy(self: AppConfigResponse) -> str:
    return json.dumps(_found_strategy(self, self._get_param("DeploymentStrategyId")))


@adds(AppConfigResponse)
def list_deployment_strategies(self: AppConfigResponse) -> str:
    return json.dumps({"Items": list(_strategies(self.appconfig_backend).values())})


@adds(AppConfigResponse)
def update_deployment_strategy(self: AppConfigResponse) -> str:
    strategy = _found_strategy(self, self._get_param("DeploymentStrategyId"))
    for name in set(strategy) - {"Id", "Name", "ReplicateTo"}:
        if self._get_param(name) is not None:
            strategy[name] = self._get_param(name)
    return json.dumps(strategy)


@adds(AppConfigResponse)
def delete_deployment_strategy(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    _found_strategy(self, self._get_param("DeploymentStrategyId"))
    del _strategies(self.appconfig_backend)[self._get_param("DeploymentStrategyId")]
    return "", {"status": 204}


@gap(
    "aws_appconfig_deployment",
    "not implemented. Here a deployment is under way when it starts and over at the next look: complete, "
    "or rolled back when an alarm that its environment monitors is in alarm",
)
@adds(AppConfigResponse)
def start_deployment(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    environment = _environment(self)
    if any(_state(d) == "DEPLOYING" for d in environment["Deployments"]):
        raise BadRequestError("Another deployment is under way in this environment")
    strategy = _found_strategy(self, self._get_param("DeploymentStrategyId"))
    profile = _profile(
        self.appconfig_backend.get_application(self._get_param("ApplicationId")),
        self._get_param("ConfigurationProfileId"),
    )
    version = profile.get_version(int(self._get_param("ConfigurationVersion")))
    number = len(environment["Deployments"]) + 1
    deployment = {
        "ApplicationId": environment["ApplicationId"],
        "EnvironmentId": environment["Id"],
        "DeploymentStrategyId": strategy["Id"],
        "ConfigurationProfileId": profile.id,
        "DeploymentNumber": number,
        "ConfigurationName": profile.name,
        "ConfigurationLocationUri": profile.location_uri,
        "ConfigurationVersion": str(version.version),
        "VersionLabel": version.version_label,
        "Description": self._get_param("Description"),
        **{
            name: strategy[name]
            for name in (
                "DeploymentDurationInMinutes",
                "GrowthType",
                "GrowthFactor",
                "FinalBakeTimeInMinutes",
            )
        },
        "State": "DEPLOYING",
        "EventLog": [],
        "PercentageComplete": 0.0,
        "StartedAt": _now(),
    }
    environment["Deployments"].append(deployment)
    self.appconfig_backend.tag_resource(
        _arn(
            self.appconfig_backend,
            f"application/{environment['ApplicationId']}/environment/{environment['Id']}/deployment/{number}",
        ),
        self._get_param("Tags") or {},
    )
    return json.dumps(deployment), {"status": 201}


def _state(deployment: dict[str, Any]) -> str:
    return str(deployment["State"])


class BlindError(Exception):
    """AppConfig does not get to see an alarm with the role that it was given."""


def install(world: "World") -> None:
    """Let AppConfig look at alarms as it does: with each monitor's role.

    https://docs.aws.amazon.com/appconfig/latest/userguide/getting-started-with-appconfig-cloudwatch-alarms-permissions.html
    """

    @adds(AppConfigBackend)
    def rings(self: AppConfigBackend, environment: dict[str, Any], monitor: dict[str, str]) -> bool:
        source = _arn(self, f"application/{environment['ApplicationId']}/environment/{environment['Id']}")
        name = monitor["AlarmArn"].rpartition(":alarm:")[2]
        role = monitor.get("AlarmRoleArn")
        try:
            given = role and world.identities.for_service("appconfig.amazonaws.com", role, source, "appconfig")
            found = world.client("cloudwatch", given or None).describe_alarms(
                AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
        except RefusedError as error:
            raise BlindError(f"AppConfig could not assume the role {role}: {error.message}") from error
        except ClientError as error:
            raise BlindError(f"AppConfig could not look at the alarm {name} with the role {role}: {error}") from error
        return any(a["StateValue"] == "ALARM" for a in [*found["MetricAlarms"], *found["CompositeAlarms"]])


def _ringing(backend: Any, environment: dict[str, Any]) -> list[str]:
    """Return the alarms that are in alarm. Raises BlindError."""
    return [monitor["AlarmArn"] for monitor in environment["Monitors"] if backend.rings(environment, monitor)]


def _require_alarms(backend: Any, environment: dict[str, Any]) -> None:
    """Refuse an environment whose alarms AppConfig cannot see."""
    try:
        _ringing(backend, environment)
    except BlindError as error:
        raise BadRequestError(str(error)) from error


def _finish(backend: AppConfigBackend, environment: dict[str, Any]) -> None:
    running = [deployment for deployment in environment["Deployments"] if deployment["State"] == "DEPLOYING"]
    if not running:
        return
    try:
        because = ", ".join(f"{alarm} is in alarm" for alarm in _ringing(backend, environment))
    except BlindError as error:
        because = str(error)
    for deployment in running:
        deployment |= {
            "State": "ROLLED_BACK" if because else "COMPLETE",
            "PercentageComplete": 0.0 if because else 100.0,
            "CompletedAt": _now(),
        }
        if because:
            deployment["EventLog"] = [
                {"EventType": "ROLLBACK_STARTED", "TriggeredBy": "CLOUDWATCH_ALARM", "Description": because}
            ]


def _deployment(response: AppConfigResponse) -> tuple[dict[str, Any], dict[str, Any]]:
    environment = _environment(response)
    number = int(response._get_param("DeploymentNumber"))
    if not 1 <= number <= len(environment["Deployments"]):
        raise NotFoundError("Deployment")
    return environment, environment["Deployments"][number - 1]


@adds(AppConfigResponse)
def get_deployment(self: AppConfigResponse) -> str:
    environment, deployment = _deployment(self)
    answer = json.dumps(deployment)
    _finish(self.appconfig_backend, environment)
    return answer


@adds(AppConfigResponse)
def list_deployments(self: AppConfigResponse) -> str:
    environment = _environment(self)
    answer = json.dumps({"Items": list(reversed(environment["Deployments"]))})
    _finish(self.appconfig_backend, environment)
    return answer


@adds(AppConfigResponse)
def stop_deployment(self: AppConfigResponse) -> tuple[str, dict[str, Any]]:
    _, deployment = _deployment(self)
    if deployment["State"] != "DEPLOYING":
        raise BadRequestError(f"Deployment is {deployment['State']}")
    deployment["State"] = "ROLLED_BACK"
    return json.dumps(deployment), {"status": 202}


@gap("aws_appconfig_hosted_configuration_version", "a missing description reads back as `None`")
@wraps(HostedConfigurationVersion, "get_headers")
def get_headers(original: Any, version: HostedConfigurationVersion) -> dict[str, Any]:
    return {name: value for name, value in original(version).items() if value is not None}


@gap("aws_appconfig_hosted_configuration_version", "a list of them is not implemented")
@adds(AppConfigResponse)
def list_hosted_configuration_versions(self: AppConfigResponse) -> str:
    profile = _profile(
        self.appconfig_backend.get_application(self._get_param("ApplicationId")),
        self._get_param("ConfigurationProfileId"),
    )
    return json.dumps(
        {
            "Items": [
                {
                    "ApplicationId": v.app_id,
                    "ConfigurationProfileId": v.config_id,
                    "VersionNumber": v.version,
                    "Description": v.description,
                    "ContentType": v.content_type,
                    "VersionLabel": v.version_label,
                }
                for v in sorted(profile.config_versions.values(), key=lambda v: -v.version)
            ]
        }
    )


@gap("aws_appconfig_hosted_configuration_version", "feature flags that AWS refuses are accepted")
@wraps(AppConfigBackend, "create_hosted_configuration_version")
def create_hosted_configuration_version(
    original: Any, backend: AppConfigBackend, **version: Any
) -> HostedConfigurationVersion:
    profile = backend.get_configuration_profile(version["app_id"], version["config_profile_id"])
    if profile._type == FLAGS and (problem := flags_problem(version["content"])):
        raise BadRequestError(problem)
    return original(backend, **version)  # type: ignore[no-any-return]


def flags_problem(content: str) -> str | None:
    """Say what AppConfig would refuse in a feature flag document.

    https://docs.aws.amazon.com/appconfig/latest/userguide/appconfig-type-reference-feature-flags.html
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        return f"Error parsing the content as JSON: {error}"
    flags, values = document.get("flags"), document.get("values")
    if document.get("version") != "1" or not isinstance(flags, dict) or not isinstance(values, dict):
        return 'A feature flag document has version "1", flags and values'
    for key, flag in flags.items():
        if not re.fullmatch(r"[a-z][a-zA-Z\d_-]{0,63}", key):
            return f"The flag key {key} is not valid"
        attributes = flag.get("attributes", {})
        if len(attributes) > 25:
            return f"The flag {key} has more than 25 attributes"
        value = values.get(key, {})
        for name in set(value) - {"enabled", "_createdAt", "_updatedAt", "_variants"}:
            if name not in attributes:
                return f"The value of {key} has the attribute {name}, which its flag does not declare"
        for name, attribute in attributes.items():
            if problem := _attribute_problem(attribute.get("constraints") or {}, value.get(name)):
                return f"The attribute {name} of {key} {problem}"
    unknown = set(values) - set(flags)
    return f"There are values for unknown flags: {', '.join(sorted(unknown))}" if unknown else None


def _attribute_problem(constraints: dict[str, Any], value: Any) -> str | None:
    if value is None:
        return "is required" if constraints.get("required") else None
    kinds = {"number": (int, float), "string": (str,), "boolean": (bool,), "array": (list,)}
    kind = constraints.get("type")
    if kind is not None and (not isinstance(value, kinds[kind]) or (kind == "number" and isinstance(value, bool))):
        return f"is not a {kind}"
    if kind == "number" and not (constraints.get("minimum", value) <= value <= constraints.get("maximum", value)):
        return "is out of its range"
    if "enum" in constraints and value not in constraints["enum"]:
        return "is not one of its values"
    return None


def _profile(application: Application, wanted: str) -> ConfigurationProfile:
    for profile in application.config_profiles.values():
        if wanted in (profile.id, profile.name):
            return profile
    raise NotFoundError("ConfigurationProfile")


def _session(request: Any, _url: str, headers: dict[str, str]) -> Any:
    """Answer StartConfigurationSession: a token that names what the client asked for."""
    response = AppConfigResponse()
    response.setup_class(request)
    wanted = json.loads(request.data)
    try:
        application = next(
            (
                a
                for a in response.appconfig_backend.applications.values()
                if wanted["ApplicationIdentifier"] in (a.id, a.name)
            ),
            None,
        )
        if application is None:
            raise NotFoundError("Application")
        if not any(
            wanted["EnvironmentIdentifier"] in (e["Id"], e["Name"]) for e in _environments(application).values()
        ):
            raise NotFoundError("Environment")
        _profile(application, wanted["ConfigurationProfileIdentifier"])
    except JsonRESTError as error:
        return error.code, dict(error.get_headers()), error.description
    session = {
        "application": application.id,
        "environment": wanted["EnvironmentIdentifier"],
        "profile": wanted["ConfigurationProfileIdentifier"],
        "interval": wanted.get("RequiredMinimumPollIntervalInSeconds", 60),
        "seen": None,
    }
    token = _remember(response.appconfig_backend, session)
    return (
        201,
        {"Content-Type": "application/json"},
        json.dumps({"InitialConfigurationToken": token}),
    )


def _remember(backend: AppConfigBackend, session: dict[str, Any]) -> str:
    token = mock_random.get_random_hex(40)
    backend.__dict__.setdefault("sessions", {})[token] = session
    return str(token)


def _latest(request: Any, _url: str, headers: dict[str, str]) -> Any:
    """Answer GetLatestConfiguration: what was deployed last, or nothing when it is not new."""
    response = AppConfigResponse()
    response.setup_class(request)
    backend = response.appconfig_backend
    # A token is good for one call.
    session = backend.__dict__.get("sessions", {}).pop(unquote(request.args["configuration_token"]), None)
    if session is None:
        error = BadRequestError("Request token is not valid")
        return 400, dict(error.get_headers()), error.description
    application = backend.get_application(session["application"])
    profile = _profile(application, session["profile"])
    environment = next(e for e in _environments(application).values() if session["environment"] in (e["Id"], e["Name"]))
    _finish(backend, environment)
    deployed = [
        int(d["ConfigurationVersion"])
        for d in environment["Deployments"]
        if d["State"] == "COMPLETE" and d["ConfigurationProfileId"] == profile.id
    ]
    body, content_type = "", "application/octet-stream"
    if deployed and deployed[-1] != session["seen"]:
        version = profile.get_version(deployed[-1])
        body, content_type = version.content, version.content_type
        if profile._type == FLAGS:
            body = json.dumps(_flag_values(json.loads(body)))
        session["seen"] = deployed[-1]
    return (
        200,
        {
            "Content-Type": content_type,
            "Next-Poll-Configuration-Token": _remember(backend, session),
            "Next-Poll-Interval-In-Seconds": str(session["interval"]),
        },
        body,
    )


def _flag_values(document: dict[str, Any]) -> dict[str, Any]:
    """What a client gets of a flag document: values only, attributes of enabled flags only."""
    return {
        key: {name: v for name, v in value.items() if not name.startswith("_")}
        if value.get("enabled")
        else {"enabled": False}
        for key, value in document["values"].items()
    }


gap("AppConfigData", "the service is absent")(_session)
# It is signed as `appconfig`, so its paths belong to that service's URLs here.
urls.url_paths["{0}/configurationsessions$"] = _session
urls.url_paths["{0}/configuration$"] = _latest
