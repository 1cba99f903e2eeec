"""The part of GitHub's `gh` that jobs use: `api`, `run download`, `attestation verify`. The rest is refused."""

from __future__ import annotations

import fnmatch
import io
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any, NoReturn


def stop(message: str, status: int = 1) -> NoReturn:
    """End as gh does."""
    print(message, file=sys.stderr)
    sys.exit(status)


def token() -> str:
    """GH_TOKEN, which a job has to hand over; gh does not read the job's own token."""
    found = os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN")
    if not found:
        stop(
            "gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN environment variable. Example:\n"
            "  env:\n    GH_TOKEN: ${{ github.token }}",
            4,
        )
    return found


def send(method: str, url: str, body: bytes | None = None) -> tuple[bytes, str]:
    """The answer and the address of the next page. Ends the program for an answer that is no success."""
    request = urllib.request.Request(url, body, {"Authorization": f"token {token()}"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            link = answer.headers.get("Link") or ""
            return answer.read(), link.partition(">")[0].lstrip("<")
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        print(text)
        stop(f"gh: {json.loads(text).get('message', text)} (HTTP {error.code})")


def base(path: str) -> str:
    """The address of a path of the REST API."""
    return f"{os.environ['GITHUB_API_URL']}/{path.lstrip('/')}"


class Options:
    """A command's words: those that take a value, those that do not, and the rest."""

    def __init__(self, words: list[str], valued: str, flags: str) -> None:
        self.values: dict[str, list[str]] = {}
        self.flags: set[str] = set()
        self.rest: list[str] = []
        aliases = dict(pair.split("/") for pair in valued.split() if "/" in pair)
        names = {name for pair in valued.split() for name in pair.split("/")}
        while words:
            word, given = words.pop(0), None
            if word.startswith("--") and "=" in word:
                word, _, given = word.partition("=")
            if word in names:
                self.values.setdefault(aliases.get(word, word), []).append(words.pop(0) if given is None else given)
            elif word in flags.split():
                self.flags.add(word)
            elif word.startswith("-") and word != "-":
                stop(f"unknown flag: {word} (of this stand-in)")
            else:
                self.rest.append(word)

    def one(self, name: str, default: str = "") -> str:
        """A value that is given once."""
        return self.values.get(name, [default])[-1]


def typed(text: str) -> Any:
    """The value of `-F`."""
    return {"true": True, "false": False, "null": None}.get(text, int(text) if text.isdigit() else text)


def api(words: list[str]) -> None:
    """Do `gh api PATH`."""
    options = Options(
        words, "-X/--method --input -f/--raw-field -F/--field -H/--header --hostname", "--paginate --slurp --silent"
    )
    [path] = options.rest
    fields = [pair.partition("=") for pair in options.values.get("--raw-field", [])]
    body: dict[str, Any] = {name: value for name, _, value in fields}
    body |= {
        name: typed(value) for name, _, value in (pair.partition("=") for pair in options.values.get("--field", []))
    }
    given = options.one("--input")
    method = options.one("--method") or ("POST" if body or given else "GET")
    data = None
    if given:
        data = sys.stdin.buffer.read() if given == "-" else Path(given).read_bytes()
    elif body and method == "GET":
        path += ("&" if "?" in path else "?") + urllib.parse.urlencode(body)
    elif body:
        data = json.dumps(body).encode()
    pages, address = [], base(path)
    while address:
        answer, following = send(method, address, data)
        pages.append(answer.decode())
        address = following if "--paginate" in options.flags else ""
    if "--silent" not in options.flags:
        print("[" + ",".join(pages) + "]" if "--slurp" in options.flags else "\n".join(pages))


def download(words: list[str]) -> None:
    """Do `gh run download RUN`."""
    options = Options(words, "-R/--repo -p/--pattern -D/--dir -n/--name", "")
    [run] = options.rest
    answer, _ = send("GET", base(f"repos/{options.one('--repo')}/actions/runs/{run}/artifacts"))
    names, patterns = options.values.get("--name", []), options.values.get("--pattern", [])
    found = [
        item
        for item in json.loads(answer)["artifacts"]
        if (not names and not patterns)
        or item["name"] in names
        or any(fnmatch.fnmatch(item["name"], each) for each in patterns)
    ]
    if not found:
        stop("no artifact matches any of the names or patterns provided")
    for item in found:
        content, _ = send("GET", base(f"repos/{options.one('--repo')}/actions/artifacts/{item['id']}/zip"))
        target = Path(options.one("--dir", "."))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(target if len(names) == 1 and not patterns else target / item["name"])


def verify(words: list[str]) -> None:
    """Do `gh attestation verify oci://NAME@DIGEST`."""
    options = Options(
        words,
        "-R/--repo -o/--owner --signer-workflow --predicate-type --format --source-ref --cert-oidc-issuer",
        "--bundle-from-oci --deny-self-hosted-runners",
    )
    [subject] = options.rest
    digest = subject.partition("@")[2]
    if not subject.startswith("oci://") or not digest:
        stop("the stand-in verifies oci://NAME@DIGEST")
    answer, _ = send("GET", base(f"repos/{options.one('--repo')}/attestations/{digest}"))
    kind = options.one("--predicate-type", "https://slsa.dev/provenance/v1")
    signer, ref = options.one("--signer-workflow"), options.one("--source-ref")
    registry = subject.removeprefix("oci://").partition("/")[0]
    login = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    if "." in registry and registry not in (json.loads(login.read_text())["auths"] if login.exists() else {}):
        stop(
            f"Error: failed to fetch remote image: GET https://{registry}/v2/: unexpected status code 401 Unauthorized"
        )
    found = [
        item
        for item in json.loads(answer)["attestations"]
        if item["kind"] == kind and signer in item["signer"] and ref in ("", item["ref"])
    ]
    if not found:
        stop(f"Error: verifying with issuer: no attestation of {digest} has predicate type {kind} and signer {signer}")
    print(
        json.dumps(found) if options.one("--format") == "json" else f"Loaded digest {digest}\nVerification succeeded!"
    )


COMMANDS = {("api",): api, ("run", "download"): download, ("attestation", "verify"): verify}


def main() -> None:
    """Find the command."""
    for name, command in COMMANDS.items():
        if tuple(sys.argv[1 : 1 + len(name)]) == name:
            command(sys.argv[1 + len(name) :])
            return
    stop(f"the stand-in for gh has no command {' '.join(sys.argv[1:3])}")


main()
