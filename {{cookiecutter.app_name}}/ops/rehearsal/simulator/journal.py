"""Records every call the simulator answers, and turns one that it lacks into an error at once.

A real client retries a 5xx answer for minutes. The journal's answer to a call that the simulator does
not have is a 400 with the service and the call in its message, which no client retries.
"""

import contextlib
import io
import json
import re
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import HTTPException

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

LACKS = "SimulatorLacksThisCall"
FAILED = "SimulatorFailed"
REMEMBERED = 200  # answers; a lost one is asked for again within a second or two
# moto walks through what its other threads change. Answers of these services wait for nothing but the processor;
# those of others call the simulator themselves or wait for a process.
ONE_AT_A_TIME = ("ec2", "iam", "kms", "logs")


class Journal:
    """WSGI middleware that appends one JSON line for each call to a file.

    A line has `at` (seconds since the epoch), `service`, `call`, `status`, `ms`, and `problem` when
    the simulator lacks the call or broke while answering it.
    """

    def __init__(self, application: Application, path: Path) -> None:
        self.application = application
        self.file = path.open("a", buffering=1, encoding="utf-8")
        self.lock = threading.Lock()
        self.turns = {service: threading.Lock() for service in ONE_AT_A_TIME}
        # Answers of calls that changed something, by the number that an SDK gives to all tries of a call.
        self.answers: OrderedDict[str, tuple[str, list[tuple[str, str]], bytes]] = OrderedDict()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        if environ.get("PATH_INFO") == "/rehearsal/credentials":
            return _credentials(start_response)
        started = time.time()
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            # A connection that is closed with something unread is reset, and its answer lost.
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
        if "attempt=1;" not in environ.get("HTTP_AMZ_SDK_REQUEST", "attempt=1;"):
            # An answer can get lost on a busy machine. AWS knows a repeated call by its client token.
            with self.lock:
                given = self.answers.get(invocation)
            if given is not None:
                self.write(at=round(started, 3), repeated=invocation)
                start_response(given[0], given[1])
                return [given[2]]
        _sign_confirmation(environ)
        service = _service(environ)
        call = _call(environ, service)
        answer: dict[str, Any] = {}

        def remember(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            answer.update(status=status, headers=headers)
            return lambda _data: None

        problem = None
        try:
            with self.turns.get(service, contextlib.nullcontext()):
                body = b"".join(self.application(environ, remember))
        except NotImplementedError:
            problem = LACKS
        except HTTPException as error:
            problem = f"{FAILED}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever moto raises becomes an answer by name
            problem = f"{FAILED}: {type(error).__name__}: {error}"
            traceback.print_exc()
        if problem is None and _unrouted(answer, body, service):
            problem = LACKS
        if problem is None and answer["status"].startswith("5") and call != "InvokeFunction":
            problem = f"{FAILED}: {body[:300].decode(errors='replace')}"
        if problem is not None:
            code = problem.partition(":")[0]
            message = f"{code}: {service} {call}" + problem.removeprefix(code)
            headers, body = _error(environ, service, code, message)
            answer.update(status="400 Bad Request", headers=headers)
        self.write(
            at=round(started, 3),
            service=service,
            call=call,
            status=int(answer["status"].split()[0]),
            ms=round((time.time() - started) * 1000),
            **({"problem": problem} if problem else {}),
        )
        if answer["status"].startswith("2") and invocation:
            with self.lock:
                self.answers[invocation] = (answer["status"], answer["headers"], body)
                while len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)
        start_response(answer["status"], answer["headers"])
        return [body]

    def write(self, **record: Any) -> None:
        """Append one record."""
        with self.lock:
            self.file.write(json.dumps(record) + "\n")


def _credentials(start_response: StartResponse) -> Iterable[bytes]:
    """Answer a task's SDK that asks for its role's credentials; nobody here checks them."""
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
    body = json.dumps(
        {
            "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "SecretAccessKey": "simulated",
            "Token": "simulated",
            "Expiration": expiration,
        }
    ).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _sign_confirmation(environ: Environ) -> None:
    """Lead a visit of a SubscribeURL, which nobody signs, to SNS."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if query.get("Action") == ["ConfirmSubscription"] and "HTTP_AUTHORIZATION" not in environ:
        region = query["TopicArn"][0].split(":")[3]
        environ["HTTP_AUTHORIZATION"] = (
            f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/{region}/sns/aws4_request, "
        )


def _service(environ: Environ) -> str:
    """The name that the request was signed for, such as `s3` or `elasticloadbalancing`."""
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return scope.group(1).lower() if scope else "unsigned"


def _call(environ: Environ, service: str) -> str:
    """The operation's name; the method and path when the service's model does not tell."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = environ["wsgi.input"].getvalue() if environ.get("CONTENT_LENGTH") else b""
        if action := parse_qs(body.decode(errors="replace")).get("Action"):
            return str(action[0])
    try:
        operation, _ = get_service_router(service).match(Request(environ.copy()))
    except Exception:  # noqa: BLE001 - only a better name for the journal
        return f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '/')}"
    return str(operation.name)


def _unrouted(answer: dict[str, Any], body: bytes, service: str) -> bool:
    """Tell moto's "no such URL" from a service's own "no such resource"."""
    if not answer["status"].startswith(("404", "405")) or service in ("s3", "unsigned"):
        return False
    return not body or body.lstrip().lower().startswith((b"<!doctype", b"<html"))


def _error(environ: Environ, service: str, code: str, message: str) -> tuple[list[tuple[str, str]], bytes]:
    """An error in the protocol that the client of this service reads."""
    text = re.sub(r"[<>&]", " ", message)
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if service == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
            "<RequestID>0</RequestID></Response>"
        )
    elif service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    elif form or service in ("route53", "cloudfront"):
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message>"
            "</Error><RequestId>0</RequestId></ErrorResponse>"
        )
    else:
        body = json.dumps({"__type": code, "message": text})
        return [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)], body.encode()
    return [("Content-Type", "text/xml")], body.encode()
