"""Stand-ins for third-party actions: what each does for its job, and what the real one refuses.

`python -m tests.workflows.actions NAME` is the one step of a composite action that `runner.py` writes for each entry of
`actions.yml`; `… post` ends a job. An input that a stand-in does not honour fails by name instead of being ignored.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any, NoReturn

Inputs = dict[str, str]
NO_CREDENTIALS = (
    "Credentials could not be loaded, please check your action inputs: Could not load credentials from any providers"
)
ACTIONS: dict[str, tuple[Callable[[Inputs], dict[str, Any] | None], set[str]]] = {}


def action(name: str, honours: str = "", ignores: str = "") -> Callable[[Any], Any]:
    """Register a stand-in: inputs that it honours, and those whose effect nobody can see here."""

    def add(function: Any) -> Any:
        ACTIONS[name] = (function, {*honours.split(), *ignores.split()})
        return function

    return add


def fail(message: str) -> NoReturn:
    """End the step with an error, as a toolkit's `setFailed` does."""
    print(f"::error::{message}")
    sys.exit(1)


def say(message: str) -> None:
    """A line of the job's log."""
    print(message, flush=True)


def true(value: str) -> bool:
    """A boolean input in the forms that actions take."""
    if value.lower() not in ("true", "false"):
        fail(f"Input does not meet YAML 1.2 'Core Schema' specification: {value!r} is no boolean")
    return value.lower() == "true"


def append(variable: str, text: str) -> None:
    """Add to one of the job's command files."""
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


class Answered(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


def call(method: str, url: str, token: str, body: Any = None, *, raw: bytes | None = None) -> Any:
    """Call the server; its JSON (or bytes). Raises Answered."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            content = answer.read()
            return json.loads(content) if "json" in answer.headers.get("Content-Type", "") else content
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        raise Answered(error.code, json.loads(text).get("message", text) if text.startswith("{") else text) from error


def api(method: str, path: str, token: str, body: Any = None) -> Any:
    """Call GitHub's REST API."""
    return call(method, f"{os.environ['GITHUB_API_URL']}/{path}", token, body)


def service(method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Any:
    """Call what only actions reach: artifacts, caches."""
    url = f"{os.environ['GITHUB_API_URL']}/_services/{path}"
    return call(method, url, os.environ["ACTIONS_RUNTIME_TOKEN"], body, raw=raw)


def git(*arguments: str, cwd: Path | None = None) -> str:
    """What a git command prints."""
    process = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        fail(f"The process 'git {' '.join(arguments)}' failed with exit code {process.returncode}: {process.stderr}")
    return process.stdout.strip()


def docker(*arguments: str, given: str | None = None) -> str:
    """What a docker command prints."""
    program = shutil.which("docker")
    if program is None:
        fail("docker is not installed")
    process = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        fail(f"docker {' '.join(arguments)}: {process.stderr.strip() or process.stdout.strip()}")
    return process.stdout.strip()


# ---------------------------------------------------------------------- source


@action(
    "actions/checkout",
    honours="repository ref token persist-credentials path fetch-depth fetch-tags",
    ignores="clean show-progress set-safe-directory",
)
def checkout(inputs: Inputs) -> dict[str, Any]:
    """Fetch what GitHub's does: by default one commit, the one of the event, and no other history."""
    repository, token = inputs["repository"], inputs["token"]
    if repository != os.environ["GITHUB_REPOSITORY"]:
        fail(f"Not Found: {repository} can't be read with this token")
    try:
        there = api("GET", f"repos/{repository}/contents", token)
    except Answered as error:
        fail(f"remote: Repository not found. ({error})")
    origin = f"file://{there['git']}"
    ref, commit = inputs["ref"] or os.environ["GITHUB_REF"], os.environ["GITHUB_SHA"] if not inputs["ref"] else ""
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        ref, commit = "", ref
    elif not ref.startswith("refs/"):
        found = git("ls-remote", origin, f"refs/heads/{ref}", f"refs/tags/{ref}").split()
        if not found:
            fail(f"A branch or tag with the name '{ref}' could not be found")
        commit, ref = found[0], found[1]
    elif not commit:
        commit = git("ls-remote", origin, ref).split()[0]
    folder = Path(os.environ["GITHUB_WORKSPACE"]) / inputs["path"]
    folder.mkdir(parents=True, exist_ok=True)
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    git("init", "--quiet", cwd=folder)
    git("remote", "add", "origin", f"https://github.com/{repository}", cwd=folder)
    short = ref.removeprefix("refs/heads/").removeprefix("refs/pull/").removeprefix("refs/tags/")
    if ref.startswith("refs/heads/"):
        target = f"refs/remotes/origin/{short}"
    elif ref.startswith("refs/pull/"):
        target = f"refs/remotes/pull/{short}"
    else:
        target = ref
    wanted = f"+{commit}:{target}" if target else commit
    depth = int(inputs["fetch-depth"])
    if depth <= 0:
        git("fetch", "--quiet", "--prune", "--tags", origin, "+refs/heads/*:refs/remotes/origin/*", cwd=folder)
        git("fetch", "--quiet", "--no-tags", origin, wanted, cwd=folder)
    else:
        tags = [] if true(inputs["fetch-tags"]) else ["--no-tags"]
        git(
            "-c",
            "protocol.version=2",
            "fetch",
            "--quiet",
            *tags,
            "--prune",
            f"--depth={depth}",
            origin,
            wanted,
            cwd=folder,
        )
    if ref.startswith("refs/heads/"):
        git("checkout", "--quiet", "--force", "-B", short, target, cwd=folder)
    else:
        git("checkout", "--quiet", "--force", target or commit, cwd=folder)
    persisted = true(inputs["persist-credentials"])
    if persisted:
        secret = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        git("config", "http.https://github.com/.extraheader", f"AUTHORIZATION: basic {secret}", cwd=folder)
    if persisted or not there["private"]:  # later fetches reach the repository; else they fail, as without credentials
        git("config", f"url.{origin}.insteadOf", f"https://github.com/{repository}", cwd=folder)
    kind = "job" if token.startswith("ghs_") else "person"
    git("config", "remote.origin.receivepack", f"env PUSHED_WITH={kind} git-receive-pack", cwd=folder)
    if not (persisted and there["push"]):
        git("config", "remote.origin.pushurl", "https://github.com.invalid/", cwd=folder)
    say(git("log", "-1", "--format=HEAD is now at %h %s", cwd=folder))
    return {"ref": ref, "commit": git("rev-parse", "HEAD", cwd=folder)}


# ---------------------------------------------------------------------- tools


@action(
    "actions/setup-python",
    honours="python-version python-version-file cache cache-dependency-path update-environment",
    ignores="token check-latest allow-prereleases",
)
def setup_python(inputs: Inputs) -> dict[str, Any]:
    """Take the Python of this machine that the tests run on: another version could not be installed here."""
    wanted = inputs["python-version"]
    if not wanted and inputs["python-version-file"]:
        wanted = Path(inputs["python-version-file"]).read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"3\.\d+(\.\d+)?", wanted):
        fail(f"Version {wanted!r} was not found")
    if inputs["cache"] not in ("", "pip"):
        fail(f"Caching for '{inputs['cache']}' is not supported")
    patterns = inputs["cache-dependency-path"].split() or ["requirements.txt", "pyproject.toml"]
    if inputs["cache"] and not any(any(Path().glob(pattern)) for pattern in patterns):
        fail(
            f"No file in {Path.cwd()} matched to [{' or '.join(patterns)}],"
            " make sure you have checked out the target repository"
        )
    base = Path(sys.base_prefix) / "bin"
    append("GITHUB_PATH", str(base))
    append("GITHUB_ENV", f"pythonLocation={sys.base_prefix}")
    say(f"Successfully set up CPython ({sys.version.split()[0]} stands in for {wanted})")
    return {"python-version": sys.version.split()[0], "python-path": str(base / "python3"), "cache-hit": "false"}


@action(
    "astral-sh/setup-uv",
    honours="version version-file enable-cache cache-dependency-glob cache-suffix working-directory python-version",
    ignores="checksum github-token restore-cache save-cache prune-cache add-problem-matchers ignore-nothing-to-cache"
    " cache-local-path",
)
def setup_uv(_inputs: Inputs) -> dict[str, Any]:
    """Take the uv that the tests have."""
    program = Path(sys.executable).parent / "uv"
    folder = Path(os.environ["RUNNER_TEMP"]) / "uv"
    folder.mkdir(exist_ok=True)
    (folder / "uv").symlink_to(program)
    append("GITHUB_PATH", str(folder))
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"uv-version": version, "uv-path": str(folder / "uv"), "cache-hit": "false"}


@action("hashicorp/setup-terraform", honours="terraform_version terraform_wrapper")
def setup_terraform(inputs: Inputs) -> None:
    """Take the Terraform of this machine."""
    if shutil.which("terraform") is None:
        fail("terraform is not on this machine")
    if true(inputs["terraform_wrapper"]):
        fail("the stand-in has no wrapper: set terraform_wrapper to false")


# ---------------------------------------------------------------------- AWS


@action(
    "aws-actions/configure-aws-credentials",
    honours="aws-region role-to-assume audience allowed-account-ids role-duration-seconds role-session-name"
    " mask-aws-account-id unset-current-credentials",
    ignores="disable-retry retry-max-attempts action-timeout-s role-skip-session-tagging",
)
def configure_aws_credentials(inputs: Inputs) -> dict[str, Any]:
    """Trade the token that GitHub gives this job for credentials of a role; STS decides by the role's trust policy."""
    region, role = inputs["aws-region"], inputs["role-to-assume"]
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
        fail(f"Region is not valid: {region}")
    if not role:
        fail(NO_CREDENTIALS)
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if not url:
        say("It looks like you might be trying to authenticate with OIDC.")
        say("Did you mean to set the `id-token` permission?")
        fail(NO_CREDENTIALS)
    audience = urllib.parse.quote(inputs["audience"], safe="")
    token = call("GET", f"{url}&audience={audience}", os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])["value"]
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": inputs["role-session-name"] or "GitHubActions",
        "WebIdentityToken": token,
        "DurationSeconds": inputs["role-duration-seconds"] or "3600",
    }
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        urllib.parse.urlencode(form).encode(),
        {"Host": f"sts.{region}.amazonaws.com", "Content-Type": "application/x-www-form-urlencoded"},
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        found = re.search(r"<Message>(.*?)</Message>", error.read().decode(), re.DOTALL)
        fail(f"Could not assume role with OIDC: {found[1] if found else error}")
    found_in = {
        name: re.search(rf"<{name}>(.*?)</{name}>", text) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    }
    values = {name: match[1] if match else "" for name, match in found_in.items()}
    account = role.split(":")[4]
    allowed = inputs["allowed-account-ids"].replace(" ", "")
    if allowed and account not in allowed.split(","):
        fail(f"The account ID of the provided credentials ({account}) does not match any of the expected account IDs")
    for name in ("SecretAccessKey", "SessionToken"):
        say(f"::add-mask::{values[name]}")
    environment = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": values["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": values["SecretAccessKey"],
        "AWS_SESSION_TOKEN": values["SessionToken"],
    }
    for name, value in environment.items():
        append("GITHUB_ENV", f"{name}={value}")
    say(f"Authenticated as {role.rsplit('/', 1)[-1]}")
    return {"aws-account-id": account}


# ---------------------------------------------------------------------- images


@action("docker/setup-qemu-action", honours="platforms", ignores="image cache-image reset")
def setup_qemu(_inputs: Inputs) -> None:
    """Nothing to do: no image is run for another processor here."""


@action("docker/setup-buildx-action", ignores="driver use cache-binary cleanup platforms version name driver-opts")
def setup_buildx(_inputs: Inputs) -> dict[str, Any]:
    """The builder is the docker on the PATH."""
    if shutil.which("docker") is None:
        fail("Docker is required.")
    return {"name": "builder"}


@action(
    "docker/build-push-action",
    honours="context file load push tags platforms build-args labels target",
    ignores="github-token cache-from cache-to provenance sbom pull no-cache",
)
def build_push(inputs: Inputs) -> dict[str, Any]:
    """Build as the command does, and push where that is asked for."""
    tags = inputs["tags"].replace(",", "\n").split()
    words = ["build", "--file", inputs["file"] or "Dockerfile"]
    for option, name in (("--platform", "platforms"), ("--target", "target")):
        words += [option, inputs[name]] if inputs[name] else []
    for option, name in (("--build-arg", "build-args"), ("--label", "labels")):
        words += [word for line in inputs[name].split("\n") if line for word in (option, line)]
    words += [word for tag in tags for word in ("--tag", tag)]
    if not inputs["context"]:
        fail("the stand-in builds from the checkout: set context (GitHub's would fetch the repository by itself)")
    say(docker(*words, inputs["context"]))
    if true(inputs["push"]):
        for tag in tags:
            say(docker("push", tag))
    return {}


def inspected(image: str) -> dict[str, Any]:
    """What docker knows of an image; it is pulled when it is not here, which needs a login."""
    program = shutil.which("docker") or fail("docker is not installed")
    here = subprocess.run([program, "image", "inspect", image], capture_output=True, text=True, check=False)
    if here.returncode != 0:
        docker("pull", image)
        here = subprocess.run([program, "image", "inspect", image], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(here.stdout)[0]
    return found


@action(
    "anchore/sbom-action",
    honours="image output-file format upload-artifact registry-username registry-password",
    ignores="github-token upload-release-assets dependency-snapshot artifact-name",
)
def sbom(inputs: Inputs) -> None:
    """Write what an image is made of. An image that is not here is read from its registry, which needs a login."""
    if inputs["format"] != "spdx-json" or not inputs["image"] or true(inputs["upload-artifact"]):
        fail("the stand-in writes spdx-json of an image, and uploads nothing")
    found = inspected(inputs["image"])
    packages = [{"name": inputs["image"], "SPDXID": "SPDXRef-image", "versionInfo": found["Id"]}]
    document = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": inputs["image"], "packages": packages}
    if inputs["output-file"]:
        Path(inputs["output-file"]).write_text(json.dumps(document), encoding="utf-8")


@action(
    "aquasecurity/trivy-action",
    honours="scan-type image-ref format output severity ignore-unfixed exit-code limit-severities-for-sarif",
    ignores="timeout hide-progress version cache cache-dir vuln-type scanners token-setup-trivy skip-setup-trivy",
)
def trivy(inputs: Inputs) -> None:
    """Look for what the test says is vulnerable in the image (`vulnerable` of the repository's server)."""
    if inputs["scan-type"] != "image" or not inputs["image-ref"]:
        fail("the stand-in scans images")
    inspected(inputs["image-ref"])
    findings = service("GET", "vulnerabilities")["items"]
    wanted = [item for item in findings if item["severity"] in inputs["severity"].split(",")]
    if true(inputs["ignore-unfixed"]):
        wanted = [item for item in wanted if item["fixed"]]
    if inputs["output"]:
        results = [{"ruleId": item["id"], "message": {"text": item["id"]}} for item in wanted]
        document: dict[str, Any] = {
            "version": "2.1.0",
            "runs": [{"tool": {"driver": {"name": "Trivy"}}, "results": results}],
        }
        Path(inputs["output"]).write_text(json.dumps(document), encoding="utf-8")
    for item in wanted:
        say(f"{item['id']} {item['severity']}")
    if wanted and inputs["exit-code"] not in ("", "0"):
        sys.exit(int(inputs["exit-code"]))


@action(
    "actions/attest",
    honours="subject-name subject-digest sbom-path github-token push-to-registry predicate-type predicate"
    " predicate-path",
    ignores="show-summary create-storage-record subject-version",
)
def attest(inputs: Inputs) -> dict[str, Any]:
    """Sign a statement about a digest, which needs a token of this job, and store it."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", inputs["subject-digest"]):
        fail("subject-digest must be in the format 'sha256:<hex-digest>'")
    if not inputs["subject-name"]:
        fail("subject-name must be provided when using subject-digest")
    if "ACTIONS_ID_TOKEN_REQUEST_URL" not in os.environ:
        fail('missing "id-token" permission. Please add "permissions: id-token: write" to your workflow.')
    kind = "https://slsa.dev/provenance/v1"
    if inputs["sbom-path"]:
        document = json.loads(Path(inputs["sbom-path"]).read_text(encoding="utf-8"))
        if "spdxVersion" not in document and document.get("bomFormat") != "CycloneDX":
            fail("Unsupported SBOM format")
        kind = "https://spdx.dev/Document/v2.3"
    if true(inputs["push-to-registry"]):
        docker("pull", f"{inputs['subject-name']}@{inputs['subject-digest']}")
    url = f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience=sigstore"
    token = call("GET", url, os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])["value"]
    body = {"digest": inputs["subject-digest"], "name": inputs["subject-name"], "kind": kind, "token": token}
    try:
        made = api("POST", f"repos/{os.environ['GITHUB_REPOSITORY']}/attestations", inputs["github-token"], body)
    except Answered as error:
        fail(f"Failed to persist attestation: {error.message}")
    return {"attestation-id": made["id"]}


# ---------------------------------------------------------------------- artifacts and caches


@action(
    "actions/upload-artifact",
    honours="name path if-no-files-found retention-days overwrite include-hidden-files",
    ignores="compression-level",
)
def upload_artifact(inputs: Inputs) -> dict[str, Any]:
    """Keep files for later jobs. Names are taken once in a run, hidden files stay out unless they are asked for."""
    name = inputs["name"]
    if re.search(r'[":<>|*?\r\n\\/]', name) or not name:
        fail(f"The artifact name is not valid: {name}")
    if inputs["retention-days"] and not 0 <= int(inputs["retention-days"]) <= 90:
        fail("Retention days must be between 1 and 90")
    hidden = true(inputs["include-hidden-files"])
    found: dict[Path, None] = {}
    roots = []
    for line in filter(None, map(str.strip, inputs["path"].splitlines())):
        paths = [
            Path(item).absolute()
            for item in glob(str(Path(line.removeprefix("!")).expanduser()), recursive=True, include_hidden=True)  # noqa: PTH207
        ]
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        if line.startswith("!"):
            found = {file: None for file in found if file not in files}
            continue
        roots += [path if path.is_dir() else path.parent for path in paths]
        found |= {
            file: None for file in files if hidden or not any(part.startswith(".") for part in relative(file).parts)
        }
    if not found:
        text = f"No files were found with the provided path: {inputs['path']}. No artifacts will be uploaded."
        if inputs["if-no-files-found"] == "error":
            fail(text)
        say(text if inputs["if-no-files-found"] == "ignore" else f"::warning::{text}")
        return {}
    root = Path(os.path.commonpath(roots))
    for file in found:
        if re.search(r'[":<>|*?\r\n]', file.name):
            fail(f"The path for one of the files in artifact is not valid: {file}")
    content = {str(file.relative_to(root)): base64.b64encode(file.read_bytes()).decode() for file in found}
    body = {"name": name, "overwrite": true(inputs["overwrite"]), "files": content}
    try:
        made = service("POST", "artifacts", body)
    except Answered as error:
        fail(
            f"Failed to CreateArtifact: Received non-retryable error: Failed request: ({error.status}) {error.message}"
        )
    say(f"Artifact {name} has been successfully uploaded: {len(found)} files")
    return {"artifact-id": made["id"], "artifact-digest": hashlib.sha256(json.dumps(content).encode()).hexdigest()}


def relative(file: Path) -> Path:
    """A path below the workspace where it is there; what is above it hides nothing."""
    workspace = Path(os.environ["GITHUB_WORKSPACE"])
    return file.relative_to(workspace) if file.is_relative_to(workspace) else Path(file.name)


@action(
    "actions/download-artifact",
    honours="name path pattern merge-multiple github-token repository run-id artifact-ids",
    ignores="digest-mismatch",
)
def download_artifact(inputs: Inputs) -> dict[str, Any]:
    """Get files of this run's artifacts; those of another run need a token with `actions: read`."""
    run = inputs["run-id"]
    if inputs["artifact-ids"]:
        fail("the stand-in downloads by name or pattern")
    if inputs["github-token"]:
        listed = api("GET", f"repos/{inputs['repository']}/actions/runs/{run}/artifacts", inputs["github-token"])[
            "artifacts"
        ]
    elif run != os.environ["GITHUB_RUN_ID"]:
        fail("github-token is needed for artifacts of another run")
    else:
        listed = service("GET", "artifacts")
    name, pattern, merge = inputs["name"], inputs["pattern"], true(inputs["merge-multiple"])
    chosen = [
        item for item in listed if (item["name"] == name if name else fnmatch.fnmatchcase(item["name"], pattern or "*"))
    ]
    if name and not chosen:
        fail("Unable to download artifact(s): Artifact not found for name: " + name)
    target = Path(inputs["path"] or os.environ["GITHUB_WORKSPACE"]).expanduser().absolute()
    for item in chosen:
        folder = target if name or merge else target / item["name"]
        for path, content in service("GET", f"artifacts/{item['id']}")["files"].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(base64.b64decode(content))
    say(f"Total of {len(chosen)} artifact(s) downloaded")
    return {"download-path": str(target)}


def cached_paths(inputs: Inputs) -> list[Path]:
    """The paths of a cache."""
    return [Path(line).expanduser().absolute() for line in inputs["path"].splitlines() if line.strip()]


@action("actions/cache/restore", honours="path key restore-keys fail-on-cache-miss lookup-only")
def restore_cache(inputs: Inputs) -> dict[str, Any]:
    """Bring back files by their key, or by the newest key that begins as asked."""
    if len(inputs["key"]) > 512 or "," in inputs["key"]:
        fail(f"Key Validation Error: {inputs['key']} is not valid")
    prefixes = [line.strip() for line in inputs["restore-keys"].splitlines() if line.strip()]
    found = service("POST", "caches/find", {"key": inputs["key"], "prefixes": prefixes, "paths": inputs["path"]})
    outputs = {"cache-primary-key": inputs["key"], "cache-hit": "", "cache-matched-key": ""}
    if not found:
        if true(inputs["fail-on-cache-miss"]):
            fail(f"Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: {inputs['key']}")
        say(f"Cache not found for input keys: {inputs['key']}")
        return outputs
    if not true(inputs["lookup-only"]):
        for number, path in enumerate(cached_paths(inputs)):
            source = Path(found["folder"]) / str(number)
            if source.exists():
                copy(source, path)
    say(f"Cache restored from key: {found['key']}")
    return outputs | {"cache-hit": str(found["key"] == inputs["key"]).lower(), "cache-matched-key": found["key"]}


@action("actions/cache/save", honours="path key")
def save_cache(inputs: Inputs) -> None:
    """Keep files under a key, once."""
    folder = service("POST", "caches/reserve", {"key": inputs["key"], "paths": inputs["path"]})["folder"]
    if folder is None:
        say(
            f"Failed to save: Unable to reserve cache with key {inputs['key']}, another job may be creating this cache."
        )
        return
    saved = False
    for number, path in enumerate(cached_paths(inputs)):
        if path.exists():
            copy(path, Path(folder) / str(number))
            saved = True
    if saved:
        service("POST", "caches/commit", {"key": inputs["key"]})
        say(f"Cache saved with key: {inputs['key']}")
    else:
        say("::warning::Path Validation Error: Path(s) specified in the action for caching do(es) not exist")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder with links instead of bytes: nobody writes into what was installed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-Rl", "-T", str(source), str(target)], check=True)


@action("actions/cache", honours="path key restore-keys fail-on-cache-miss lookup-only")
def cache(inputs: Inputs) -> dict[str, Any]:
    """Restore now; when the job succeeds and nothing was found under the key, save at its end."""
    outputs = restore_cache(inputs)
    if outputs["cache-hit"] != "true" and not true(inputs["lookup-only"]):
        at_the_end("actions/cache/save", {"path": inputs["path"], "key": inputs["key"]})
    return {"cache-hit": outputs["cache-hit"]}


def at_the_end(name: str, inputs: Inputs) -> None:
    """Have a stand-in run when the job has succeeded, as a post step does."""
    with (Path(os.environ["RUNNER_TEMP"]) / "post.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps([name, inputs]) + "\n")


def post() -> None:
    """Run what waits for the end of a successful job, the last one first."""
    path = Path(os.environ["RUNNER_TEMP"]) / "post.jsonl"
    for line in reversed(path.read_text(encoding="utf-8").splitlines() if path.exists() else []):
        name, inputs = json.loads(line)
        ACTIONS[name][0](inputs)


# ---------------------------------------------------------------------- GitHub


@action(
    "github/codeql-action/upload-sarif",
    honours="sarif_file token category",
    ignores="checkout_path matrix wait-for-processing",
)
def upload_sarif(inputs: Inputs) -> dict[str, Any]:
    """Send findings to code scanning."""
    path = Path(inputs["sarif_file"])
    if not path.exists():
        fail(f"Path does not exist: {path}")
    document = json.loads(path.read_text(encoding="utf-8"))
    repository, run = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_RUN_ID"]
    try:
        api("GET", f"repos/{repository}/actions/runs/{run}", inputs["token"])  # which job of which workflow this is
        body = {
            "ref": os.environ["GITHUB_REF"],
            "commit_sha": os.environ["GITHUB_SHA"],
            "category": inputs["category"],
            "sarif": document,
        }
        made = api("POST", f"repos/{repository}/code-scanning/sarifs", inputs["token"], body)
    except Answered as error:
        fail(error.message)
    return {"sarif-id": made["id"]}


@action("actions/dependency-review-action", honours="repo-token fail-on-severity")
def dependency_review(inputs: Inputs) -> None:
    """Compare the dependencies of a pull request's two sides."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    pull = event.get("pull_request") or fail("Both a base ref and head ref must be provided outside of pull requests")
    compared = f"{pull['base']['sha']}...{pull['head']['sha']}"
    try:
        changes = api(
            "GET", f"repos/{os.environ['GITHUB_REPOSITORY']}/dependency-graph/compare/{compared}", inputs["repo-token"]
        )
    except Answered as error:
        if error.status == 403:
            fail(
                "Dependency review is not supported on this repository. Please ensure that Dependency graph is enabled"
                f" along with GitHub Advanced Security on private repositories ({error.message})"
            )
        fail(error.message)
    order = ["low", "moderate", "high", "critical"]
    limit = order.index(inputs["fail-on-severity"] or "low")
    found = [item for item in changes if order.index(item["severity"]) >= limit]
    if found:
        fail("Dependency review detected vulnerable packages: " + ", ".join(item["name"] for item in found))


@action(
    "actions/github-script",
    honours="script github-token result-encoding",
    ignores="debug user-agent retries retry-exempt-status-codes",
)
def github_script(inputs: Inputs) -> dict[str, Any]:
    """Run the script on node with a small client of the REST API."""
    program = shutil.which("node") or fail("node is not on this machine")
    result = Path(os.environ["RUNNER_TEMP"]) / f"script-{uuid.uuid4().hex}"
    environment = {
        **os.environ,
        "SCRIPT": inputs["script"],
        "SCRIPT_TOKEN": inputs["github-token"],
        "SCRIPT_RESULT": str(result),
    }
    process = subprocess.run(
        [program, str(Path(__file__).with_name("github-script.mjs"))], env=environment, check=False
    )
    if process.returncode != 0:
        sys.exit(process.returncode)
    text = result.read_text(encoding="utf-8")
    return {"result": text if inputs["result-encoding"] == "json" else json.loads(text) or ""}


def main() -> None:
    """Run one stand-in with the inputs of its step."""
    name = sys.argv[1]
    if name == "post":
        post()
        return
    function, honoured = ACTIONS[name]
    inputs = {key: value or "" for key, value in json.loads(os.environ["STANDIN_INPUTS"]).items()}
    # Names of inputs are compared without regard to case; act gives them in small letters.
    defaults = {key.lower(): value for key, value in json.loads(os.environ["STANDIN_DEFAULTS"]).items()}
    for key in os.environ["STANDIN_REQUIRED"].split():
        if not inputs[key]:
            fail(f"Input required and not supplied: {key}")
    for key, value in inputs.items():
        default = defaults[key.lower()] or ""
        if key.lower() not in {known.lower() for known in honoured} and value != default and "${{" not in default:
            fail(f"the stand-in for {name} does not honour its input {key}={value!r}: teach it in actions.py")
    for key, value in (function(inputs) or {}).items():
        append("GITHUB_OUTPUT", f"{key}={value}")


if __name__ == "__main__":
    main()
