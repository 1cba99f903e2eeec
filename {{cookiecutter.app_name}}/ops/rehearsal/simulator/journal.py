"""Records every call the simulator answers, with who asked for what, and turns one that it lacks into an error at once.

A real client retries a 5xx answer for minutes. The journal's answer to a call that the simulator does
not have is a 400 with the service and the call in its message, which no client retries.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from werkzeug.exceptions import HTTPException

from ops.rehearsal.iam.call import registry as owner
from ops.rehearsal.simulator import requests, uploads
from ops.rehearsal.simulator.guard import Guard
from ops.rehearsal.simulator.identities import Place, RefusedError
from ops.rehearsal.simulator.requests import Environ

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

CREDENTIALS_PATH = "/rehearsal/credentials/"
ASSUME_PATH = "/rehearsal/assume"
LACKS = "SimulatorLacksThisCall"
FAILED = "SimulatorFailed"
REMEMBERED = 200  # answers; a lost one is asked for again within a second or two
# moto walks through what its other threads change. Answers of these services wait for nothing but the processor;
# those of others call the simulator themselves or wait for a process.
ONE_AT_A_TIME = ("ec2", "iam", "kms", "logs")


class Journal:
    """WSGI middleware that appends one JSON line for each call to a file.

    A line has `at` (seconds since the epoch), `service`, `call`, `status`, `ms`, who asked (`principal`, and its `role`), what IAM was
    asked and said (`asked`: see guard.py), how long deciding took (`iam_ms`), `refused` when IAM refused, and `problem` when
    the simulator lacks the call, can't decide it, or broke while answering it.
    """

    def __init__(self, application: Application, path: Path, world: World) -> None:
        self.application = application
        self.world = world
        self.guard = Guard(world.state, world.identities, world.note)
        # With it the rehearsal itself plays a service of AWS that runs something as a role.
        self.secret = secrets.token_hex(16)
        file = path.with_name("secret")
        file.touch(mode=0o600)
        file.write_text(self.secret, encoding="ascii")
        self.file = path.open("a", buffering=1, encoding="utf-8")
        self.lock = threading.Lock()
        self.turns = {service: threading.Lock() for service in ONE_AT_A_TIME}
        # Answers of calls that changed something, by the number that an SDK gives to all tries of a call.
        self.answers: OrderedDict[str, tuple[str, list[tuple[str, str]], bytes]] = OrderedDict()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        if environ.get("PATH_INFO", "").startswith(CREDENTIALS_PATH):
            return self._credentials(environ, start_response)
        if environ.get("PATH_INFO") == ASSUME_PATH:
            return self._assume(environ, start_response)
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
        self._sign_confirmation(environ)
        body = uploads.read(environ, environ["wsgi.input"].getvalue()) if length else b""
        verdict = self.guard.check(environ, body)
        request = verdict.request
        service, call = request.service, request.operation
        problem = f"{FAILED}: {verdict.problem}" if verdict.problem else None
        answer: dict[str, Any] = {}
        if problem is None and verdict.refusal is not None:
            status, headers, body = verdict.refusal
            answer.update(status=status, headers=headers)
        elif problem is None:
            # moto keeps accounts apart by this header.
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = owner(request) or verdict.account
            problem, body = self._carry_out(environ, answer, service, call)
            if uploads.FORM in environ and answer["status"].startswith("2"):
                answer["status"], body = "204 No Content", b""  # as S3 answers an upload
                answer["headers"] = [
                    header for header in answer["headers"] if not header[0].lower().startswith("content-")
                ]
        if problem is not None:
            code = problem.partition(":")[0]
            message = f"{code}: {service} {call}" + problem.removeprefix(code)
            status, headers, body = requests.error(request, 400, code, message)
            answer.update(status=status, headers=headers)
        elif verdict.hidden:
            body = self.guard.hide(verdict, body)
            answer["headers"] = [h for h in answer["headers"] if h[0].lower() != "content-length"]
            answer["headers"].append(("Content-Length", str(len(body))))
        self.guard.done(verdict, answer["status"])
        self.write(
            at=round(started, 3),
            service=service,
            call=call,
            status=int(answer["status"].split()[0]),
            ms=round((time.time() - started) * 1000),
            iam_ms=round(verdict.milliseconds, 2),
            **({"principal": verdict.principal} if verdict.principal else {}),
            **({"role": verdict.role} if verdict.role else {}),
            **({"asked": verdict.decisions} if verdict.decisions else {}),
            **({"refused": True} if verdict.refusal is not None and problem is None else {}),
            **({"problem": problem} if problem else {}),
        )
        if answer["status"].startswith("2") and invocation:
            with self.lock:
                self.answers[invocation] = (answer["status"], answer["headers"], body)
                while len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)
        start_response(answer["status"], answer["headers"])
        return [body]

    def _carry_out(self, environ: Environ, answer: dict[str, Any], service: str, call: str) -> tuple[str | None, bytes]:
        """Let moto answer; returns the problem, if there is one, and the body."""

        def remember(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            answer.update(status=status, headers=headers)
            return lambda _data: None

        body = b""
        try:
            with self.turns.get(service, contextlib.nullcontext()):
                body = b"".join(self.application(environ, remember))
        except NotImplementedError:
            return LACKS, body
        except HTTPException as error:
            return f"{FAILED}: {error}", body
        except Exception as error:  # noqa: BLE001 - whatever moto raises becomes an answer by name
            traceback.print_exc()
            return f"{FAILED}: {type(error).__name__}: {error}", body
        if _unrouted(answer, body, service):
            return LACKS, body
        if answer["status"].startswith("5") and call not in ("Invoke", "InvokeFunction"):
            return f"{FAILED}: {body[:300].decode(errors='replace')}", body
        return None, body

    def _credentials(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a task's SDK that asks for its role's credentials, by the path that it alone was told."""
        found = self.world.task_credentials.get(environ["PATH_INFO"].removeprefix(CREDENTIALS_PATH))
        if found is None:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
        body = json.dumps(
            {
                "AccessKeyId": found["access_key"],
                "SecretAccessKey": found["secret_key"],
                "Token": found["token"],
                "Expiration": expiration,
            }
        ).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _assume(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Give the keys of a role as a service of AWS gets them: query `service`, `role`, `source`.

        With `subnets`, what has these keys runs in them, and its calls go through the endpoints of their VPC.
        """
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        status, answer = "403 Forbidden", {"message": "The secret is wrong."}
        if secrets.compare_digest(environ.get("HTTP_X_SECRET", ""), self.secret):
            try:
                subnets = tuple(filter(None, query.get("subnets", "").split(",")))
                answer = self.world.identities.for_service(
                    query["service"],
                    query["role"],
                    query["source"],
                    "rehearsal",
                    place=Place(self.world.network(subnets, query["source"].split(":")[4]).vpc_id, subnets)
                    if subnets
                    else None,
                )
                status = "200 OK"
            except RefusedError as error:
                answer = {"message": error.message}
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _sign_confirmation(self, environ: Environ) -> None:
        """Lead a visit of a SubscribeURL to SNS: nobody signs it, its token is what admits it."""
        query = parse_qs(environ.get("QUERY_STRING", ""))
        if query.get("Action") == ["ConfirmSubscription"] and "HTTP_AUTHORIZATION" not in environ:
            _, _, _, region, account, _ = query["TopicArn"][0].split(":")
            key = self.world.identities.internal_of(account)[0]
            environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/sns/aws4_request, "

    def write(self, **record: Any) -> None:
        """Append one record."""
        with self.lock:
            self.file.write(json.dumps(record) + "\n")


def _unrouted(answer: dict[str, Any], body: bytes, service: str) -> bool:
    """Tell moto's "no such URL" from a service's own "no such resource"."""
    if not answer["status"].startswith(("404", "405")) or service in ("s3", "unsigned"):
        return False
    return not body or body.lstrip().lower().startswith((b"<!doctype", b"<html"))
