"""`python -m app.worker NAME`: take messages from a worker's queue, one after the other, until SIGTERM.

NAME is a worker of project.yaml, and here a function in HANDLERS. When the function returns, its message is deleted. When
it raises, the message comes again after the queue's visibility_seconds, and after max_receives times goes to the dead
letters. While it runs its message is kept from others, however long that takes. SQS may deliver a message twice: what is
done again must do no harm.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session
from pydantic import BaseModel, Field

from app import logs, parts
from app.settings import FromEnvironment, SettingsError, read

log = logging.getLogger("app.worker")

# So long a call waits for a message, and an idle worker for its end. Asking costs 0.20 USD a month and task.
WAIT_SECONDS = 5
PARTS: tuple[parts.Part, ...] = ()  # What the functions use, such as app.database.database.
Message = dict[str, Any]
Handler = Callable[[str], Coroutine[Any, Any, None]]


class Greeting(BaseModel):
    """What a message of the example must be."""

    name: str = Field(min_length=1, max_length=200)


async def example(text: str) -> None:
    """Work on one message. Yours takes this one's place; what blocks belongs in `asyncio.to_thread`."""
    greeting = Greeting.model_validate_json(text)
    log.info("greeted %s", greeting.name)


HANDLERS: dict[str, Handler] = {"example": example}


class QueueSettings(FromEnvironment):
    """Where the queues are."""

    aws_region: str = Field(description="region of the queues")


class Queue:
    """A worker's queue, by the URL in QUEUE_URL_NAME. Raises SettingsError, and botocore's errors."""

    def __init__(self, worker: str) -> None:
        variable = f"QUEUE_URL_{worker.upper().replace('-', '_')}"
        if not (url := os.environ.get(variable)):
            raise SettingsError(f"{variable} is missing: does project.yaml have a worker {worker}?")
        (settings,) = read(QueueSettings)
        config = Config(connect_timeout=3, read_timeout=WAIT_SECONDS + 5, retries={"mode": "standard"})
        self._client = get_session().create_client("sqs", region_name=settings.aws_region, config=config)
        self._url = url

    async def send(self, text: str) -> None:
        """Send a message of at most 1 MiB: for the service, which may send to every worker."""
        await self._call("send_message", MessageBody=text)

    async def receive(self) -> list[Message]:
        """Return the next message, or none after WAIT_SECONDS."""
        wanted = {"MaxNumberOfMessages": 1, "MessageSystemAttributeNames": ["ApproximateReceiveCount"]}
        found = await self._call("receive_message", WaitTimeSeconds=WAIT_SECONDS, **wanted)
        return list(found.get("Messages", ()))

    async def visibility_seconds(self) -> int:
        """Return for how long a message that was received is kept from others."""
        found = await self._call("get_queue_attributes", AttributeNames=["VisibilityTimeout"])
        return int(found["Attributes"]["VisibilityTimeout"])

    async def keep(self, message: Message, seconds: int) -> None:
        """Keep a message from others for so long from now; 0 gives it back."""
        handle = message["ReceiptHandle"]
        await self._call("change_message_visibility", ReceiptHandle=handle, VisibilityTimeout=seconds)

    async def delete(self, message: Message) -> None:
        """Delete a message: its work is done."""
        await self._call("delete_message", ReceiptHandle=message["ReceiptHandle"])

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = await asyncio.to_thread(
            getattr(self._client, operation), QueueUrl=self._url, **arguments
        )
        return found


async def _keep_on(queue: Queue, message: Message, seconds: int) -> None:
    """Keep a message, again and again before its time is over. SQS ends it after 12 hours."""
    while True:
        await asyncio.sleep(seconds / 2)
        try:
            await queue.keep(message, seconds)
        except (BotoCoreError, ClientError) as error:
            log.warning("the message may come again while it is worked on: %s", error)


class Worker:
    """Works on the messages of one queue until `stopping` is set, and then no longer than `stop_seconds`."""

    def __init__(self, queue: Queue, handler: Handler, stop_seconds: float) -> None:
        self._queue, self._handler, self._stop_seconds = queue, handler, stop_seconds
        self.stopping = asyncio.Event()

    async def work(self) -> None:
        """Take messages. Raises botocore's errors where the queue cannot be asked at all."""
        seconds = await self._queue.visibility_seconds()
        pause = 1.0
        while not self.stopping.is_set():
            try:
                for message in await self._queue.receive():
                    await self._handle(message, seconds)
                pause = 1.0
            except (BotoCoreError, ClientError) as error:
                log.warning("asked again in %g s: %s", pause, error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), pause)
                pause = min(2 * pause, 60)

    async def _handle(self, message: Message, seconds: int) -> None:
        logs.request_id.set(message["MessageId"])  # In every line about it.
        work = asyncio.create_task(self._handler(message["Body"]))
        others = [asyncio.create_task(task) for task in (_keep_on(self._queue, message, seconds), self.stopping.wait())]
        await asyncio.wait([work, others[1]], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([work], timeout=self._stop_seconds)  # No time at all where it is done.
        for task in others:
            task.cancel()
        if not work.done():
            work.cancel()
            log.warning("no time to end this message: it is given back")
            await self._queue.keep(message, 0)
        elif error := asyncio.CancelledError("by itself") if work.cancelled() else work.exception():
            count = message.get("Attributes", {}).get("ApproximateReceiveCount")
            log.error("this message failed, received %s times", count, exc_info=error)
        else:
            await self._queue.delete(message)
        logs.request_id.set("")


async def run(name: str) -> None:
    """Run a worker with what it needs, until SIGTERM or SIGINT. Raises SettingsError."""
    if name not in HANDLERS:
        raise SettingsError(f"{name or 'nothing'} is no worker here: {', '.join(HANDLERS)}")
    settings, running = parts.configure(PARTS)
    worker = Worker(Queue(name), HANDLERS[name], settings.stop_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stopping.set)
    async with running():
        log.info("started worker %s of %s %s", name, settings.environment, settings.release)
        await worker.work()


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    try:
        asyncio.run(run(" ".join(arguments)))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
