"""The courses of a rehearsal, each a few of the steps in their order: everything, up to a layer, one part again, what was edited."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence

from ops.rehearsal import promotion, scheduled, steps, use
from ops.rehearsal.claims.subjects import SUBJECTS
from ops.rehearsal.driver import FailedError, Rehearsal, digest, manifest
from ops.rehearsal.progress import clock
from ops.terraform import ACCOUNT, BUILD_REPOSITORY, DATABASE, NETWORK, SERVICE, Layer, layer_named


def everything(run: Rehearsal, *, keep: bool) -> None:
    """All layers, from the first to the last proof; without `keep` also a change of each, and the end of them all.

    What is kept is the project as it is; otherwise it has one of each thing that it may have.
    """
    if not keep:
        steps.declare(run)
    steps.bootstrap(run)
    steps.zone(run)
    run.at_the_same_time(lambda: _first_image(run), lambda: _first_network(run))
    steps.up(run)

    planned = threading.Event()
    # Most of the attempts' time is the wait until IAM knows the tags of what they are made at.
    run.at_the_same_time(
        lambda: _used(run),
        lambda: steps.plan_again(run, run.layers(), planned),
        lambda: steps.try_everything(run),
        lambda: steps.work(run),
        lambda: scheduled.prove(run, steps.jobs(run), planned),
    )
    run.findings.proved_after = run.progress.elapsed
    run.progress.say(f"{clock(run.progress.elapsed)}  ✓ applied and proved")
    if not keep:
        promotion.promote(run)
        steps.change(run)
        steps.destroy(run)


def _first_image(run: Rehearsal) -> None:
    steps.incident_url(run)
    steps.apply(run, BUILD_REPOSITORY)
    steps.push(run, run.images[0])


def _first_network(run: Rehearsal) -> None:
    steps.apply(run, NETWORK)
    steps.secrets(run)  # they are under the network's key


def _used(run: Rehearsal) -> None:
    use.launch(run, steps.jobs(run).apply)
    steps.status(run)
    _proved(run)


def up_to(run: Rehearsal, name: str) -> None:
    """The layers up to one of them, and what that one alone can prove."""
    last = _present(run, name)
    steps.bootstrap(run)
    steps.zone(run)
    for layer in run.layers():
        # The account layer is there, and only the database needs another one.
        if layer is last is not ACCOUNT or (layer is NETWORK and last is DATABASE):
            steps.apply(run, layer)
    steps.prove_all(run, [subject for subject in SUBJECTS if name in subject.alone])
    steps.try_everything(run)


def again(run: Rehearsal, part: str) -> None:
    """One layer in a rehearsal that was kept (or none, when `part` is `proofs`), and every proof."""
    if part != "proofs":
        if part == SERVICE.name:
            steps.secrets(run)
        steps.apply(run, _present(run, part))
    use.launch(run, steps.jobs(run).apply)
    run.at_the_same_time(lambda: _proved(run), lambda: steps.try_everything(run))


def after(run: Rehearsal, edited: Sequence[str]) -> None:
    """What the edited files concern, then the proofs; says what is not repeated."""
    concerned = [layer for layer in run.layers() if any(_concerns(path, layer) for path in edited)]
    rolls = any(path.startswith("app/") or path == ".dockerignore" for path in edited)
    if not edited:
        run.progress.say("No file was edited since: nothing is repeated.")
        return
    asked_before = len(run.notes("journal"))
    if ACCOUNT in concerned:
        steps.apply(run, ACCOUNT)
    steps.secrets(run)
    if rolls:
        run.rebuild()
        image = manifest(time.time_ns())
        steps.push(run, image)
    others = [layer for layer in concerned if layer is not ACCOUNT and not (rolls and layer is SERVICE)]
    changes = [
        *([lambda: steps.deploy(run, digest(image))] if rolls else []),
        *(lambda layer=layer: steps.apply(run, layer) for layer in others),
    ]
    if changes:
        run.at_the_same_time(*changes)
    asked = run.notes("journal")[asked_before:]
    changed_policies = any(_GRANTS.match(str(record.get("call"))) for record in asked)
    if rolls or concerned:
        use.launch(run, steps.jobs(run).apply)
    run.at_the_same_time(lambda: _proved(run), *([lambda: steps.try_everything(run)] if changed_policies else []))
    left = [layer.name for layer in run.layers() if layer not in concerned and not (rolls and layer is SERVICE)]
    not_repeated = [
        *([f"layers {', '.join(left)} (no file of theirs was edited)"] if left else []),
        *([] if rolls else ["the image (nothing in it was edited)"]),
        *([] if changed_policies else ["what must be refused (no policy changed)"]),
        "the second plans, the change of each layer and the end of them all",
    ]
    run.progress.say("Not repeated: " + "; ".join(not_repeated) + ".")


def _proved(run: Rehearsal) -> None:
    steps.prove_all(run)
    steps.use_files(run)  # before a task of the service is ended
    use.use(run)


# Calls by which somebody may do more or less than before.
_GRANTS = re.compile(
    r"(?!Assume|Describe|Get|List).*(Policy|Role|Permission|Grant)|(Create|Modify)VpcEndpoint|SetTopicAttributes"
)


def _concerns(path: str, layer: Layer) -> bool:
    """Whether an edit of a file may change what a layer is."""
    if path == "project.yaml" or path.startswith(("infra/config/", "infra/modules/")):
        return True
    return path.startswith(f"infra/{layer.name}/") or (layer is DATABASE and path.startswith("role_manager/"))


def _present(run: Rehearsal, name: str) -> Layer:
    layer = layer_named(name)
    if layer not in run.layers():
        raise FailedError(f"This repository has no layer {name}: {', '.join(x.name for x in run.layers())}")
    return layer
