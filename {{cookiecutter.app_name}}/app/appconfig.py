"""Keeps the feature flags up to date, from AppConfig or from a file.

A thread asks again and again, at the pace AppConfig sets. Whatever goes wrong there, requests never wait for it: the
last good values stay, and before the first answer the defaults of flags.json hold.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator

from app.flags import Flags
from app.logs import Metrics
from app.settings import FromEnvironment, Settings

log = logging.getLogger(__name__)

# The least that AppConfig allows: what is switched off should be off soon. Its answer names the pace that holds.
POLL_SECONDS = 15
LONGEST_PAUSE_SECONDS = 60.0
FILE_SECONDS = 0.5


class FlagsSettings(FromEnvironment):
    """The flags with their defaults, and where their values are."""

    flags_file: Path | None = Field(None, description="file of flags, instead of AppConfig")
    appconfig_application: str = ""
    appconfig_environment: str = ""
    appconfig_profile: str = ""
    aws_region: str = ""
    _flags: Flags = PrivateAttr()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._flags = Flags()
        names = ("appconfig_application", "appconfig_environment", "appconfig_profile", "aws_region")
        missing = ", ".join(name.upper() for name in names if not getattr(self, name))
        if missing and not self.flags_file:
            raise ValueError(f"{missing} missing: where AppConfig has the feature flags (or set FLAGS_FILE)")
        if self.flags_file and not self.flags_file.is_file():
            raise ValueError(f"FLAGS_FILE is '{self.flags_file}': there is no such file")
        return self


class AppConfigSource:
    """AppConfig's data API.

    https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_Operations_AWS_AppConfig_Data.html
    """

    def __init__(self, settings: FlagsSettings) -> None:
        place = (settings.appconfig_application, settings.appconfig_environment, settings.appconfig_profile)
        kinds = ("ApplicationIdentifier", "EnvironmentIdentifier", "ConfigurationProfileIdentifier")
        self.name = f"AppConfig {'/'.join(place)}"
        self._identifiers = dict(zip(kinds, place, strict=True))
        self._region = settings.aws_region
        self._client: Any = None
        self._token = ""

    def poll(self) -> tuple[object | None, float]:
        """Return new values, or None for the same ones, and the seconds until the next poll.

        Raises whatever went wrong; the next call then begins a new session.
        """
        token, self._token = self._token, ""
        if self._client is None:
            # Imported here: in the thread, beside the start of the service.
            from botocore.config import Config
            from botocore.session import get_session

            config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
            self._client = get_session().create_client("appconfigdata", region_name=self._region, config=config)
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
        """As AppConfigSource's. Raises OSError, ValueError."""
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return None, FILE_SECONDS
        document = json.loads(self._path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "values" not in document:
            raise ValueError("the file has no `values`")
        self._seen = seen
        return document["values"], FILE_SECONDS


class FeatureFlags:
    """The flags of the moment, as `flags`."""

    name = "flags"
    settings = FlagsSettings

    @contextlib.asynccontextmanager
    async def running(self, settings: FlagsSettings, service: Settings, metrics: Metrics) -> AsyncIterator[None]:
        """Ask in a thread. A daemon: an answer that is on its way does not hold up the exit."""
        self.flags = settings._flags
        self._source = FileSource(settings.flags_file) if settings.flags_file else AppConfigSource(settings)
        self._answered_at: float | None = None
        self._error = "not asked yet"
        stopped = threading.Event()
        threading.Thread(target=self._poll_until, args=(stopped,), name="flags", daemon=True).start()
        try:
            yield
        finally:
            stopped.set()

    async def ready(self) -> str:
        """Say where the values come from. Never NotReady: the service works without AppConfig."""
        if self._answered_at is None:
            return f"defaults of flags.json; {self._source.name}: {self._error}"
        words = f"values of {self._source.name}, {time.monotonic() - self._answered_at:.0f} s old"
        return f"{words}; {self._error}" if self._error else words

    def _poll_until(self, stopped: threading.Event) -> None:
        pause, wait = 1.0, 0.0
        while not stopped.wait(wait):
            try:
                values, wait = self._source.poll()
                if values is not None:
                    self.flags.update(values)
                    log.info("new values of %s", self._source.name)
                self._answered_at, self._error, pause = time.monotonic(), "", 1.0
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                message = f"{type(error).__name__}: {error}"
                if message != self._error:
                    log.warning("flags stay as they are: %s: %s", self._source.name, message)
                self._error = message
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE_SECONDS)


feature_flags = FeatureFlags()
