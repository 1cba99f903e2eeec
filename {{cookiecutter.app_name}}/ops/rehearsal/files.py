"""A file that goes up and comes back by URLs that the service signs, and everybody and everything that is refused."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops import waiting
from ops.rehearsal import attackers, use
from ops.rehearsal.attempts import FOR_ALL, Attempt, attempt
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.edits import SCANNED, UNSCANNED
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import Keys

if TYPE_CHECKING:
    from ops.rehearsal.steps import Jobs

MOST, SECONDS = 1_000_000, 60
# What every scanner takes for malware, and nothing is harmed by: https://www.eicar.org. In parts, so that none finds it here.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
PLAIN = {"X-Forwarded-Proto": "http"}  # how the simulator hears that a call came without TLS


def declared(run: Rehearsal) -> bool:
    """Whether project.yaml has the rehearsal's storage: not where a team has its own."""
    text = run.file.read_text(encoding="utf-8")
    return SCANNED in text or UNSCANNED in text


def prove(run: Rehearsal, bar: Bar, played: Jobs) -> str:
    """Upload and download as a client does; says in words what was seen."""
    content = f"rehearsed,{secrets.token_hex(16)}\r\n--no boundary\r\n".encode()
    new = {"name": "rehearsed.csv", "content_type": "text/csv"}
    status, upload = use.ask(run, "POST", "/files", new)
    if status != 201:
        raise FailedError(f"POST /files answered {status}: {json.dumps(upload)}")
    status, problem = use.ask(run, "POST", "/files", new | {"content_type": "text/html"})
    if status != 422:
        raise FailedError(f"POST /files takes text/html, which project.yaml does not name: {status} {problem}")
    url, fields = upload["url"], upload["fields"]
    for what, code, changed, body, headers in (
        ("is too large", "EntityTooLarge", {}, b"x" * (MOST + 1), {}),
        ("is of another type", "AccessDenied", {"Content-Type": "text/html"}, content, {}),
        ("has another name", "AccessDenied", {"key": "0" * 32}, content, {}),
        ("was not signed so", "SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}, content, {}),
        ("came without TLS", "AccessDenied", {}, content, PLAIN),
    ):
        _must_be(f"An upload that {what}", code, send(url, {**fields, **changed}, body, headers))
    status, _ = use.ask(run, "GET", f"/files/{upload['id']}")
    if status != 404:
        raise FailedError(f"GET /files answered {status} for a file that nobody uploaded.")
    status, said = send(url, fields, content)
    if status != 204:
        raise FailedError(f"The upload was answered with {status}: {said.decode(errors='replace')}")
    status, found = _once_scanned(run, upload["id"])
    if status != 200 or found["content_type"] != "text/csv" or found["size"] != len(content):
        raise FailedError(f"GET /files/{upload['id']} answered {status}: {json.dumps(found)}")
    status, given = fetch(found["url"])
    if (status, given) != (200, content):
        raise FailedError(f"The file came back as {status}: {given[:300]!r}")
    _must_be("A download without TLS", "AccessDenied", fetch(found["url"], PLAIN))
    _must_be("Another file by this URL", "SignatureDoesNotMatch", fetch(found["url"].replace(upload["id"], "0" * 32)))
    _must_be("A download that nobody signed", "AccessDenied", fetch(found["url"].partition("?")[0]))
    scanned = SCANNED in run.file.read_text(encoding="utf-8")
    _refused(run, bar, played, upload["id"], _malware(run, new) if scanned else None)
    said_so = "a file goes up and comes back by signed URLs; other types, sizes, names and roles are refused"
    return f"{said_so}, and malware" if scanned else said_so


def _once_scanned(run: Rehearsal, identity: str) -> tuple[int, Any]:
    """Ask for a file until it is given out; returns the last answer."""

    def given() -> tuple[int, Any] | None:
        answer = use.ask(run, "GET", f"/files/{identity}")
        return answer if answer[0] == 200 else None

    return waiting.until(given, SECONDS, every=0.5) or use.ask(run, "GET", f"/files/{identity}")


def _malware(run: Rehearsal, new: Mapping[str, str]) -> str:
    """Upload what every scanner takes for malware: nobody gets it, and who is on call hears of it. Returns its id."""
    before = len(run.mailbox.messages())
    _, upload = use.ask(run, "POST", "/files", new)
    status, said = send(upload["url"], upload["fields"], EICAR)
    if status != 204:
        raise FailedError(f"The upload of a test virus was answered with {status}: {said.decode(errors='replace')}")
    alarm = run.project.names["files_malware"]
    if run.project.settings["incident_management"] != "none" and not run.mailbox.wait_for(alarm, SECONDS, after=before):
        raise FailedError(f"The alarm {alarm} did not reach the incident service: {run.notes('scans')[-1:]}")
    status, _ = use.ask(run, "GET", f"/files/{upload['id']}")
    if status != 404:
        raise FailedError(f"GET /files answered {status} for a file with malware in it.")
    return str(upload["id"])


def send(
    url: str, fields: Mapping[str, str], content: bytes, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a form as a browser does; returns status and body."""
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return use.exchange(
        urlsplit(url), "POST", body, {"Content-Type": f"multipart/form-data; boundary={boundary}", **(headers or {})}
    )


def fetch(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Get what a URL gives; returns status and body."""
    return use.exchange(urlsplit(url), "GET", None, headers or {})


def _must_be(what: str, code: str, answer: tuple[int, bytes]) -> None:
    status, body = answer
    if status < 400 or f"<Code>{code}</Code>".encode() not in body:
        raise FailedError(f"{what} was answered with {status}, not {code}: {body[:300].decode(errors='replace')}")


def _refused(run: Rehearsal, bar: Bar, played: Jobs, identity: str, bad: str | None) -> None:
    """See that no other role gets at the file, and not the service's own at more than it needs."""
    bucket = run.platform().project.names["files_bucket"]
    place = {"Bucket": bucket, "Key": identity}

    def rows(who: str) -> Iterator[Attempt]:
        def row(what: str, operation: str, **more: Any) -> Attempt:
            return Attempt(who, what, "s3", operation, place | more)

        if bad is not None:
            yield Attempt(who, "read a file with malware in it", "s3", "get_object", place | {"Key": bad})
        if who != "task":
            yield row("read a file", "get_object")
            yield row("overwrite a file", "put_object", Body=b"x")
        if who != "apply":
            policy = {"Bucket": bucket, "Policy": "{for_all}"}
            yield Attempt(who, "open the bucket of files to everybody", "s3", "put_bucket_policy", policy)
        yield row("delete a file", "delete_object")
        yield row("say that a file is clean", "put_object_tagging", Tagging={"TagSet": []})

    keys: dict[str, Keys | None] = attackers.keys_of_all(run, bar, run.platform(), played)
    for who, with_keys in keys.items():
        for row in rows(who) if with_keys else ():
            made = attempt(row, with_keys, {"for_all": FOR_ALL}, run.project.region, run.endpoint)
            if made is None:
                continue
            run.findings.attempts.append(made)
            if not made.refused:
                raise FailedError(f"{made.who} may {made.what}: {made.because}")
