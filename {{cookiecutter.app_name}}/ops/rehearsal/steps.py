"""What a rehearsal does, step by step: the commands that are typed, and what is proved between them.

An administrator makes what an account has once: the account layer, the build repository, the incident service's URL. All else is
done as GitHub's jobs do it: images are pushed as the build role, plans made as the plan role, everything of the
environment is changed as its apply role.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ops import waiting
from ops.rehearsal import attackers, edits, files, secret, use, worker
from ops.rehearsal.claims.claim import Context
from ops.rehearsal.claims.subjects import SUBJECTS, Subject, prove
from ops.rehearsal.claims.ways import reachable
from ops.rehearsal.driver import LAYER, FailedError, Rehearsal, digest
from ops.rehearsal.iam import usage
from ops.rehearsal.leftovers import left_over
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import PULL_REQUEST, Job, Keys, Profiles
from ops.terraform import ACCOUNT, DATABASE, NETWORK, SERVICE, Layer

# Where alarms go in the rehearsal: URLs of the form that each service hands out. Nobody there hears of it.
INCIDENT_URLS = {
    "pagerduty": "https://events.pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue",
    "splunk-on-call": "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/"
    "01234567-89ab-cdef-0123-456789abcdef/rehearsal",
    "email": "on-call@example.com",
}
DEPLOYMENT_SECONDS = 120


# Who does what.


@dataclass(frozen=True)
class Jobs:
    """The jobs of GitHub's that a rehearsal plays."""

    plan: Job
    build: Job
    apply: Job
    preview: Job


def jobs(run: Rehearsal) -> Jobs:
    """Return the jobs for the rehearsed environment: those of a push to main, and a pull request's preview."""
    own_role = "preview_role" in run.project.names
    return Jobs(
        plan=Job("plan", "" if run.project.home else run.environment, event="schedule"),
        build=Job("build"),
        apply=Job("apply", run.environment, gate=run.environment),
        preview=Job(
            "preview" if own_role else "apply", "" if own_role else "dev", "preview", "pull_request", PULL_REQUEST
        ),
    )


def _keys(run: Rehearsal, bar: Bar, layer: Layer) -> Keys | Profiles:
    """Who applies a layer: what all environments share is an administrator's."""
    return run.sign_in(bar, jobs(run).apply) if layer.per_environment else run.administrators()


# Making.


def bootstrap(run: Rehearsal) -> None:
    """Make the account layer; its command also tries the state's locks."""
    with run.progress.step("make bootstrap") as bar:
        output = run.make(bar, "bootstrap", "YES=1", keys=run.administrators())
        respected = re.findall(r"respected: (.*?) \(", output)
        if len(respected) != len(run.project.accounts):
            raise FailedError("make bootstrap did not try the locks of the state.")
        bar.detail = f"locks respected: {respected[0]}"
        if len(respected) > 1:
            bar.detail += f", in {len(respected)} accounts"


def zone(run: Rehearsal) -> None:
    """Make the Route 53 zone that a project with a domain expects in the account."""
    if domain := run.project.zone:
        route53 = run.client("route53")
        if not route53.list_hosted_zones_by_name(DNSName=domain, MaxItems="1")["HostedZones"]:
            route53.create_hosted_zone(Name=domain, CallerReference="rehearsal")


def incident_url(run: Rehearsal) -> None:
    """Type the incident service's URL."""
    url = INCIDENT_URLS.get(str(run.project.settings["incident_management"]))
    if url is not None:
        with run.progress.step("make incident-url") as bar:
            run.make(bar, "incident-url", f"ENV={run.environment}", given=f"{url}\n")


def declare(run: Rehearsal) -> None:
    """Declare in the copy what this project might have and has not."""
    declared = edits.declare(run.file, run.project.partition)
    if declared:
        run.findings.notes.append("Declared for the rehearsal: " + ", ".join(declared))


def secrets(run: Rehearsal) -> None:
    """Type a value for each secret that has none."""
    if lacking := secret.lacking(run):
        with run.progress.step("make secret") as bar:
            for name in lacking:
                run.make(bar, "secret", f"ENV={run.environment}", f"NAME={name}", "GENERATE=1")
            bar.detail = ", ".join(lacking)


def up(run: Rehearsal) -> None:
    """Bring the environment up with the first image."""
    with run.progress.step(f"make up ENV={run.environment}") as bar:
        keys = run.sign_in(bar, jobs(run).apply)
        run.make(bar, "up", f"ENV={run.environment}", f"IMAGE={digest(run.images[0])}", "YES=1", keys=keys)


def push(run: Rehearsal, manifest: str) -> None:
    """Push an image as the build role does: the calls of `make github-image` and those that docker's push becomes."""
    with run.progress.step("push an image") as bar:
        ecr = run.client("ecr", run.sign_in(bar, jobs(run).build))  # in the project's account, as all builds
        repository = {"repositoryName": run.project.names["build_repository"]}
        layer = json.loads(manifest)["layers"][0]["digest"]
        ecr.describe_repositories(repositoryNames=[repository["repositoryName"]])
        ecr.get_authorization_token()
        ecr.batch_check_layer_availability(**repository, layerDigests=[layer])
        upload = ecr.initiate_layer_upload(**repository)["uploadId"]
        part = {"partFirstByte": 0, "partLastByte": len(LAYER) - 1, "layerPartBlob": LAYER}
        ecr.upload_layer_part(**repository, uploadId=upload, **part)
        ecr.complete_layer_upload(**repository, uploadId=upload, layerDigests=[layer])
        ecr.put_image(**repository, imageManifest=manifest, imageTag=f"rehearsal-{digest(manifest)[7:19]}")
        ecr.describe_images(**repository, imageIds=[{"imageDigest": digest(manifest)}])
        bar.detail = digest(manifest)[:19]


def status(run: Rehearsal) -> None:
    """Ask what is deployed."""
    with run.progress.step(f"make status ENV={run.environment}") as bar:
        run.make(bar, "status", f"ENV={run.environment}", "DRIFT=0", keys=run.sign_in(bar, jobs(run).apply))


def apply(run: Rehearsal, layer: Layer) -> None:
    """Apply one layer, and wait until what it deploys is there."""
    if layer is SERVICE and not run.platform().service:
        up(run)
    else:
        with run.progress.step(f"make apply LAYER={layer.name}") as bar:
            if layer is ACCOUNT:
                run.make(bar, "bootstrap", "YES=1", keys=run.administrators())
            else:
                keys = _keys(run, bar, layer)
                run.make(bar, "apply", f"LAYER={layer.name}", *_where(run, layer), "YES=1", keys=keys)
    if layer is SERVICE:
        _settle(run)


def deploy(run: Rehearsal, image: str) -> None:
    """Deploy an image that was pushed."""
    with run.progress.step(f"make deploy ENV={run.environment}") as bar:
        keys = run.sign_in(bar, jobs(run).apply)
        run.make(bar, "deploy", f"ENV={run.environment}", f"IMAGE={image}", "YES=1", keys=keys)


def _where(run: Rehearsal, layer: Layer) -> list[str]:
    elsewhere = layer is ACCOUNT and not run.project.home
    return [f"ENV={run.environment}"] if layer.per_environment or elsewhere else []


def _settle(run: Rehearsal) -> None:
    """Wait until the deployment that an apply began is over, and fail with what its tasks said."""
    name = run.project.names["service"]

    def settled() -> bool:
        service = run.platform().service
        newest = run.platform().task_definition(name)["taskDefinitionArn"]
        state = service["deployments"][0]["rolloutState"]
        if state == "FAILED" or service["taskDefinition"] != newest:
            raise FailedError(f"The deployment of {newest.rpartition('/')[2]} failed:\n{use.last_task(run)}")
        return bool(state == "COMPLETED" and service["runningCount"] == service["desiredCount"])

    if not waiting.until(settled, DEPLOYMENT_SECONDS, every=0.3):
        raise FailedError(f"{name} was still being deployed after {DEPLOYMENT_SECONDS} s.\n{use.last_task(run)}")


def change(run: Rehearsal) -> None:
    """Change something in each layer of the environment, and apply it: layers that exist need no order."""
    zones = int(run.project.environment_settings["network"]["zones"])
    changed = edits.change(run.file, run.environment, zones)
    run.findings.notes.append("Changed and applied: " + ", ".join([*changed, "another image"]))
    image = digest(run.images[1])
    push(run, run.images[1])
    value = ""
    if secret.declared(run):
        with run.progress.step("sign in") as bar:
            keys = run.sign_in(bar, jobs(run).apply)
        value = secret.store(run, image, keys)

    longest, *others = [layer for layer in (DATABASE, NETWORK) if layer in run.layers()]

    def rest() -> None:  # two at a time: each Terraform takes a gigabyte
        deploy(run, image)
        for layer in others:
            apply(run, layer)

    run.at_the_same_time(rest, lambda: apply(run, longest))
    prove_change(run, image, value)


def prove_change(run: Rehearsal, image: str, value: str) -> None:
    """See that the service is the other image with the other settings, and knows the secret where there is one."""
    with run.progress.step("prove the change") as bar:
        use.healthy(run)
        platform = run.platform()
        container = platform.task_definition(platform.service["taskDefinition"])["containerDefinitions"][0]
        if not container["image"].endswith(image):
            raise FailedError(f"After the second deployment the service runs {container['image']}.")
        wrong = [
            row for row in reachable(platform) if row.wanted is not None and (row.verdict.reach == "yes") != row.wanted
        ]
        if wrong:
            raise FailedError(
                "After the change:\n"
                + "\n".join(f"  {row.source}, {row.target}: {row.verdict.because}" for row in wrong)
            )
        given = {variable["name"]: variable["value"] for variable in container["environment"]}
        wanted = platform.project.environment_settings["service"]["variables"]
        if not given.items() >= wanted.items():
            raise FailedError(f"project.yaml's variables are {wanted}; the service was given {given}.")
        if value:
            secret.prove(run, bar, value, run.sign_in(bar, jobs(run).apply), jobs(run))


def use_files(run: Rehearsal) -> None:
    """Let a client store files and get them back, as far as it may."""
    if not files.declared(run):
        return
    with run.progress.step("use the files") as bar:
        bar.detail = files.prove(run, bar, jobs(run))


def work(run: Rehearsal) -> None:
    """Let the service give its worker work, and see what becomes of what cannot be done."""
    if not worker.declared(run):
        return
    with run.progress.step("use a worker") as bar:
        bar.detail = worker.prove(run, bar, run.sign_in(bar, jobs(run).apply), jobs(run))


# Proving.


def prove_all(run: Rehearsal, subjects: Iterable[Subject] = SUBJECTS) -> None:
    """Check every claim about the components, and compute who can reach what."""
    with run.progress.step("prove") as bar:
        platform = run.platform()
        context = Context(platform, run.mailbox, run.directory.path)
        run.findings.results = prove(context, subjects)
        with contextlib.suppress(Exception):
            run.findings.rows = reachable(platform)
        claims = [(result, claim) for result in run.findings.results for claim in result.claims]
        broken = [f"{result.component}: {claim.text} — {claim.detail}" for result, claim in claims if not claim.holds]
        run.findings.notes += differences(run)
        if run.findings.error:
            raise FailedError(run.findings.error)
        if broken:
            raise FailedError("These do not hold:\n" + "\n".join(f"  {line}" for line in broken))
        bar.detail = f"{len(claims)} claims about {len(run.findings.results)} subjects hold"


def differences(run: Rehearsal) -> list[str]:
    """Return in words what this machine could not have as AWS does."""
    said = [
        f"PostgreSQL {note['version']} stood in for Aurora's {note['wanted']}."
        for note in run.notes("databases")
        if note.get("version") != note.get("wanted")
    ]
    users = run.task_users()
    if users:
        ran_as = ", ".join("the user who rehearses" if user is None else str(user) for user in users)
        said.append(f"Tasks ran as {ran_as}, on Python {sys.version.split()[0]}.")
    return said


def plan_again(run: Rehearsal, layers: Sequence[Layer], service_planned: threading.Event | None = None) -> None:
    """Plan layers: nothing may be left to change, and with moto's gaps closed there is no exception.

    The service comes first: what changes it waits for its plan, of which the event tells.
    """
    with run.progress.step(f"plan again: {', '.join(layer.name for layer in layers)}") as bar:
        keys = run.sign_in(bar, jobs(run).plan)

        def plan(layer: Layer) -> None:
            try:
                run.make(bar, "plan", f"LAYER={layer.name}", *_where(run, layer), "DRIFT=1", keys=keys)
            except FailedError as error:
                raise FailedError(f"A second plan of {layer.name} is not empty. {error}") from error
            if layer is SERVICE and service_planned:
                service_planned.set()

        with ThreadPoolExecutor(2) as pool:  # a plan takes half a gigabyte
            for done in [pool.submit(plan, layer) for layer in reversed(layers)]:
                done.result()
        bar.detail = f"{len(layers)} plans are empty"


def try_everything(run: Rehearsal) -> None:
    """Let roles try what is none of theirs: every attempt has to be refused."""
    with run.progress.step("try what must be refused") as bar:
        made = list(attackers.attack(run, bar, jobs(run)))
        run.findings.attempts += made
        allowed = [f"{one.who}: {one.what} ({one.call}) — {one.because}" for one in made if not one.refused]
        if allowed:
            raise FailedError("IAM did not refuse these:\n" + "\n".join(f"  {line}" for line in allowed))
        bar.detail = f"{len(made)} attempts, all refused"


def compare_privileges(run: Rehearsal) -> None:
    """Say for each role how much of what it may do was done, and keep what IAM was asked beside the report."""
    run.findings.usage = usage.read(run.directory.path)
    usage.keep(run.directory.path, run.render / "ops" / "rehearsal" / "report" / "decisions")


# Unmaking.


def destroy(run: Rehearsal) -> None:
    """Delete the environment, then everything, and see that nothing is left."""
    down(run)
    with run.progress.step("make destroy") as bar:
        run.make(bar, "destroy", f"CONFIRM={run.project.app}", keys=run.administrators())
    with run.progress.step("nothing is left") as bar:
        left = [
            line
            for account in run.project.accounts
            for line in left_over(lambda service, of=account: run.client_of(service, of), run.project.app)  # type: ignore[misc]
        ]
        if left:
            raise FailedError("This is left:\n" + "\n".join(f"  {line}" for line in left))
        bar.detail = "asked by name and by tag"


def down(run: Rehearsal) -> None:
    """Delete the environment, a protected one after its protection."""
    if run.project.protected:
        with run.progress.step("unprotect") as bar:
            edits.unprotect(run.file, run.environment)
            keys = run.sign_in(bar, jobs(run).apply)
            for layer in [layer for layer in (DATABASE, SERVICE) if layer in run.layers()]:
                run.make(bar, "apply", f"LAYER={layer.name}", f"ENV={run.environment}", "YES=1", keys=keys)
    with run.progress.step(f"make down ENV={run.environment}") as bar:
        keys = run.sign_in(bar, jobs(run).apply)
        run.make(bar, "down", f"ENV={run.environment}", f"CONFIRM={run.environment}", keys=keys)
