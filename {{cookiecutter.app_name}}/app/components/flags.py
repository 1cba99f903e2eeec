"""Keeps the feature flags up to date, from AppConfig or from a file, and tells a user's features.

A thread asks AppConfig again and again, at the pace AppConfig sets. Whatever goes wrong there,
requests never wait for it: the last good values stay, and before the first answer the defaults of
flags.json hold.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request

from app.api import operation
from app.components import Base
from app.flags import Flags, FlagsError
from app.settings import Environment, Settings
from app.telemetry import Metrics

log = logging.getLogger(__name__)

# The least that AppConfig allows: what is switched off should be off soon. Its answer names the pace that holds.
POLL_SECONDS = 15
CONNECT_SECONDS = 2
READ_SECONDS = 5
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
FILE_SECONDS = 0.5


class Features(msgspec.Struct):
    """Every declared feature, and whether the user has it."""

    features: dict[str, bool]


class User(msgspec.Struct):
    """Who asks; without a user, what everybody has."""

    user: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


@operation("GET", "/features", "Tell which features a user has")
async def features(request: Request, query: User) -> Features:
    """Evaluate every flag."""
    component: Component = request.app.state.components["flags"]
    flags = component.flags
    return Features({name: flags.enabled(name, query.user) for name in flags.names})


class AppConfigSource:
    """AppConfig's data API.

    https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_Operations_AWS_AppConfig_Data.html
    """

    def __init__(self, application: str, environment: str, profile: str, region: str) -> None:
        self.name = f"AppConfig {application}/{environment}/{profile}"
        self._identifiers = {
            "ApplicationIdentifier": application,
            "EnvironmentIdentifier": environment,
            "ConfigurationProfileIdentifier": profile,
        }
        self._region = region
        self._client: Any = None
        self._token = ""

    def poll(self) -> tuple[object | None, float]:
        """Return new values, or None for the same ones, and the seconds until the next poll.

        Raises whatever went wrong; the next call then begins a new session.
        """
        token, self._token = self._token, ""
        if self._client is None:
            # Imported here: in the poller's thread, beside the start of the service.
            import botocore.config
            import botocore.session

            self._client = botocore.session.get_session().create_client(
                "appconfigdata",
                region_name=self._region,
                config=botocore.config.Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"total_max_attempts": 1},
                ),
            )
        if not token:
            token = self._client.start_configuration_session(
                **self._identifiers, RequiredMinimumPollIntervalInSeconds=POLL_SECONDS
            )["InitialConfigurationToken"]
        answer = self._client.get_latest_configuration(ConfigurationToken=token)
        content = answer["Configuration"].read()
        values = json.loads(content) if content else None
        self._token = answer["NextPollConfigurationToken"]
        return values, float(answer.get("NextPollIntervalInSeconds", POLL_SECONDS))


class FileSource:
    """A file in the format of flags.json, read again whenever it changes."""

    def __init__(self, path: Path) -> None:
        self.name = f"file {path}"
        self._path = path
        self._seen: tuple[int, int] | None = None

    def poll(self) -> tuple[object | None, float]:
        """Return new values, or None for the same ones, and the seconds until the next poll.

        Raises OSError, ValueError.
        """
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return None, FILE_SECONDS
        document = json.loads(self._path.read_text())
        if not isinstance(document, dict) or "values" not in document:
            raise FlagsError("the file has no `values`")
        self._seen = seen
        return document["values"], FILE_SECONDS


class Component(Base):
    """The flags of the moment, as `flags`.

    Metrics: FlagsAge (seconds since the source last answered), FlagsErrors.
    """

    operations = (features,)

    def __init__(self, env: Environment, settings: Settings, metrics: Metrics) -> None:
        try:
            self.flags = Flags()
        except FlagsError as error:
            env.problem(str(error))
        self._metrics = metrics
        self._stopped = threading.Event()
        self._answered_at: float | None = None
        self._started_at = time.monotonic()
        self._error = "not asked yet"
        self._source: AppConfigSource | FileSource
        if env.is_set("FLAGS_FILE"):
            self._source = FileSource(env.file("FLAGS_FILE", "file of flags, instead of AppConfig", Path()))
        else:
            self._source = AppConfigSource(
                env.text("APPCONFIG_APPLICATION", "AppConfig application (or set FLAGS_FILE)"),
                env.text("APPCONFIG_ENVIRONMENT", "AppConfig environment (or set FLAGS_FILE)"),
                env.text("APPCONFIG_PROFILE", "AppConfig profile (or set FLAGS_FILE)"),
                env.text("AWS_REGION", "region of AppConfig (or set FLAGS_FILE)"),
            )

    async def start(self) -> None:
        """Start the thread. A daemon: an answer that is on its way does not hold up the exit."""
        self._metrics.count("FlagsErrors", 0)
        self._metrics.gauge("FlagsAge", self._age, "Seconds")
        threading.Thread(target=self._poll_regularly, name="flags", daemon=True).start()

    async def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()

    async def ready(self) -> str:
        """Say where the values come from. Never NotReady: the service works without AppConfig."""
        if self._answered_at is None:
            return f"defaults of flags.json; {self._source.name}: {self._error}"
        words = f"values of {self._source.name}, {self._age():.0f} s old"
        return f"{words}; {self._error}" if self._error else words

    def _age(self) -> float:
        return round(time.monotonic() - (self._answered_at or self._started_at), 1)

    def _poll_regularly(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        wait = 0.0
        while not self._stopped.wait(wait):
            try:
                values, wait = self._source.poll()
                if values is not None:
                    self.flags.update(values)
                    log.info("new values of %s", self._source.name)
                self._answered_at = time.monotonic()
                self._error = ""
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                message = f"{type(error).__name__}: {error}"
                if message != self._error:
                    log.warning("flags stay as they are: %s: %s", self._source.name, message)
                self._error = message
                self._metrics.count("FlagsErrors")
                wait = pause
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
