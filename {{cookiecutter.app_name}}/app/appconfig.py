"""Keeps the feature flags up to date, from AppConfig or from a file.

A thread asks again and again. Whatever goes wrong there, requests never wait for it: the last good values stay, and
before the first answer the defaults of flags.json hold.
"""

import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, FilePath, PrivateAttr, model_validator

from app.flags import Flags
from app.settings import FromEnvironment

log = logging.getLogger(__name__)

POLL_SECONDS = 15  # The least that AppConfig allows; its answer names the pace that holds.


class FlagsSettings(FromEnvironment):
    """The flags with their defaults, and where their values are."""

    flags_file: FilePath | None = Field(None, description="file of flags, instead of AppConfig")
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
        return self


Answers = Iterator[tuple[object | None, float]]  # Values, None for the same as before, and seconds until the next.


def from_appconfig(settings: FlagsSettings) -> Answers:
    """Ask https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/ in one session. Raises whatever goes wrong."""
    # Imported here: in the thread, beside the start of the service.
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    client = get_session().create_client("appconfigdata", region_name=settings.aws_region, config=config)
    token = client.start_configuration_session(
        ApplicationIdentifier=settings.appconfig_application,
        EnvironmentIdentifier=settings.appconfig_environment,
        ConfigurationProfileIdentifier=settings.appconfig_profile,
        RequiredMinimumPollIntervalInSeconds=POLL_SECONDS,
    )["InitialConfigurationToken"]
    while True:
        answer = client.get_latest_configuration(ConfigurationToken=token)
        token = answer["NextPollConfigurationToken"]
        content = answer["Configuration"].read()
        yield json.loads(content) if content else None, float(answer.get("NextPollIntervalInSeconds", POLL_SECONDS))


def from_file(path: Path) -> Answers:
    """Read a file in the format of flags.json whenever it has changed. Raises whatever goes wrong."""
    seen = None
    while True:
        if (content := path.read_bytes()) != seen:
            yield json.loads(content)["values"], 0.5
            seen = content
        yield None, 0.5


class FeatureFlags:
    """The flags of the moment, as `flags`."""

    name = "flags"
    settings = FlagsSettings

    @contextlib.asynccontextmanager
    async def running(self, settings: FlagsSettings) -> AsyncIterator[None]:
        """Ask in a thread. A daemon: an answer that is on its way does not hold up the exit."""
        self.flags = settings._flags
        place = (settings.appconfig_application, settings.appconfig_environment, settings.appconfig_profile)
        self._source = f"file {settings.flags_file}" if settings.flags_file else f"AppConfig {'/'.join(place)}"
        self._answered_at: float | None = None
        self._error = "not asked yet"
        stopped = threading.Event()
        threading.Thread(target=self._ask, args=(settings, stopped), name="flags", daemon=True).start()
        try:
            yield
        finally:
            stopped.set()

    async def ready(self) -> str:
        """Say where the values come from. Never a 503: the service works without AppConfig."""
        if self._answered_at is None:
            return f"defaults of flags.json; {self._source}: {self._error}"
        error = f"; {self._error}" if self._error else ""
        return f"values of {self._source}, {time.monotonic() - self._answered_at:.0f} s old{error}"

    def _ask(self, settings: FlagsSettings, stopped: threading.Event) -> None:
        pause = 1.0
        while not stopped.is_set():
            try:
                for values, wait in from_file(settings.flags_file) if settings.flags_file else from_appconfig(settings):
                    if values is not None:
                        self.flags.update(values)
                        log.info("new values of %s", self._source)
                    self._answered_at, self._error, pause = time.monotonic(), "", 1.0
                    if stopped.wait(wait):
                        return
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                message = f"{type(error).__name__}: {error}"
                if message != self._error:
                    log.warning("flags stay as they are: %s: %s", self._source, message)
                self._error = message
                stopped.wait(pause)
                pause = min(2 * pause, 60)


feature_flags = FeatureFlags()
