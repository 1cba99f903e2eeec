"""IAM at the door of the simulated AWS: every call is decided before it is carried out."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ops.laptop import signing
from ops.rehearsal.iam.call import Call
from ops.rehearsal.iam.calls import asks
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.decide import Ask, Decision, Principal, decide
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.policy import Policy, Who
from ops.rehearsal.iam.web_identity import TokenKeys
from ops.rehearsal.simulator import requests, signatures, uploads
from ops.rehearsal.simulator.endpoints import endpoint_policy
from ops.rehearsal.simulator.identities import Caller, Identities, RefusedError
from ops.rehearsal.simulator.requests import ApiRequest, Environ
from ops.rehearsal.simulator.state import MotoState

# What services call a wrong signature, where it is not SignatureDoesNotMatch.
_WRONG_SIGNATURE = {
    "ec2": ("AuthFailure", 401),
    "json": ("InvalidSignatureException", 400),
    "rest-json": ("InvalidSignatureException", 403),
}


@dataclass
class Verdict:
    """What became of a request at the door.

    `refusal` is the answer instead of the service's: status, headers, body. `problem` names what could not be decided.
    `decisions` are for the journal. `hidden` names what the answer must lack.
    """

    request: ApiRequest
    principal: str = ""
    role: str = ""
    account: str = ""
    refusal: tuple[str, list[tuple[str, str]], bytes] | None = None
    problem: str | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    milliseconds: float = 0
    made_service_roles: list[str] = field(default_factory=list)


class Guard:
    """Decides requests for one simulated AWS.

    Args:
        state: what the account has.
        identities: who has keys.
        note: appends a record to one of the run's files: `note("policies", role=…)`.

    """

    def __init__(self, state: MotoState, identities: Identities, note: Callable[..., None]) -> None:
        self.state = state
        self.identities = identities
        self.note = note
        self._noted: dict[tuple[str, str], Policy] = {}

    def check(self, environ: Environ, body: bytes) -> Verdict:
        """Decide one request."""
        began = time.thread_time()  # processor time: waiting for other threads is not what deciding costs
        signed = requests.credential(environ)
        request = requests.read(environ, body, signed.service if signed else self._unsigned_service(environ, body))
        verdict = Verdict(request)
        try:
            self._check(verdict, environ, body, signed)
        except UndecidableError as error:
            verdict.problem = f"IAM here does not know {error}"
        except RefusedError as error:
            verdict.refusal = requests.error(request, error.status, error.code, error.message)
        except Exception as error:  # noqa: BLE001 - a fault of ours must let nothing through, and say where it is
            traceback.print_exc()
            verdict.problem = f"IAM here failed: {type(error).__name__}: {error}"
        verdict.milliseconds = (time.thread_time() - began) * 1000
        return verdict

    def done(self, verdict: Verdict, status: str) -> None:
        """Take note of what a call changed for later decisions."""
        if not status.startswith("2"):
            return
        for name in verdict.made_service_roles:
            self.state.service_roles.add((verdict.account, name))
        if verdict.request.service == "kms":
            self.state.remember_tags()

    def hide(self, verdict: Verdict, body: bytes) -> bytes:
        """Take out of an answer what its caller may not see, as Lambda does with a function's environment.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
        """
        if not verdict.hidden:
            return body
        answer = json.loads(body)
        for holder in (answer, answer.get("Configuration", {})):
            for name in verdict.hidden:
                if name in holder:
                    message = "Lambda was unable to decrypt the environment variables because KMS access was denied."
                    holder[name] = {"Error": {"ErrorCode": "AccessDeniedException", "Message": message}}
        return json.dumps(answer).encode()

    def _check(self, verdict: Verdict, environ: Environ, body: bytes, signed: requests.Credential | None) -> None:
        request = verdict.request
        if signed is None:
            if request.service == "sts" and request.operation == "AssumeRoleWithWebIdentity":
                self._web_identity(verdict)
                return
            code = "AccessDenied" if request.service == "s3" else "MissingAuthenticationToken"
            raise RefusedError(code, "The request is not signed: nobody is asking.")
        try:
            caller = self.identities.caller(signed.key_id, signed.token)
        except RefusedError as error:
            code, status = requests.unknown_key_code(request)
            code = error.code if error.code == "ExpiredToken" else code
            raise RefusedError(code, f"{error.message} ({signed.key_id} for {request.service})", status) from None
        who = caller.principal.who
        verdict.principal, verdict.account = who.arn, who.account or self.state.account
        verdict.role = who.role
        if caller.internal:
            return
        secret = str(self.identities.secret(signed.key_id))
        try:
            if uploads.FORM in environ:
                uploads.check(environ, secret)
            elif "X-Amz-Signature" in environ.get("QUERY_STRING", ""):
                signatures.check_presigned(environ, secret)
            elif not signatures.matches(environ, body, secret):
                raise signing.WRONG
        except signing.RefusedError as error:
            if error is not signing.WRONG:
                raise RefusedError(error.code, str(error), error.status) from None
            code, status = _WRONG_SIGNATURE.get(request.protocol, ("SignatureDoesNotMatch", 403))
            raise RefusedError(
                code, f"The request signature we calculated does not match ({signed.key_id}).", status
            ) from None
        if not request.known:
            return  # the simulator lacks it, and says so by its name
        call = Call(
            service=request.prefix,
            operation=request.operation,
            parameters=request.parameters,
            account=verdict.account,
            region=signed.region,
            partition=self.state.partition,
            always=self._always(caller, signed.region, over_tls=environ.get("HTTP_X_FORWARDED_PROTO") != "http"),
        )
        if call.name == "sts:AssumeRole":
            self.identities.check_duration(request.parameters)
        self._decide(verdict, caller, call)

    def _always(self, caller: Caller, region: str, *, over_tls: bool) -> dict[str, Value | None]:
        now = datetime.now(UTC)
        return {
            **caller.keys,
            "aws:RequestedRegion": region,
            # Every call counts as one over TLS, between processes of this machine; but one that says that it was not.
            "aws:SecureTransport": "true" if over_tls else "false",
            "aws:CurrentTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aws:EpochTime": str(int(now.timestamp())),
            "aws:ViaAWSService": "false",
            "aws:PrincipalIsAWSService": "false",
        }

    def _decide(self, verdict: Verdict, caller: Caller, call: Call) -> None:
        endpoint: tuple[str, Policy] | None = None
        state = self.state.seen_from(call.account)
        if caller.place is not None:
            endpoint = endpoint_policy(state, caller.place, verdict.request)
            always: Mapping[str, Value | None] = {
                **call.always,
                "aws:SourceVpce": endpoint[0] if endpoint else None,
                "aws:SourceVpc": caller.place.vpc_id if endpoint else None,
            }
            call = Call(**{**vars(call), "always": always})
        for ask in asks(call, state):
            own = ask.keys.get("aws:ViaAWSService") != "true"
            principal = self._asks_as(ask, caller)
            if endpoint and own and not ask.of:
                ask = Ask(**{**vars(ask), "endpoint_policy": endpoint[1]})
            decision = decide(principal, ask)
            verdict.decisions.append(_recorded(principal, ask, decision))
            self._note_policies(principal)
            if decision.allowed:
                if ask.action == "iam:CreateServiceLinkedRole" and call.operation != "CreateServiceLinkedRole":
                    verdict.made_service_roles.append(str(ask.keys.get("iam:AWSServiceName")))
                continue
            if ask.hides:
                verdict.hidden.append(ask.hides)
                continue
            if verdict.refusal is None:
                verdict.refusal = self._refusal(verdict.request, principal, ask, decision)

    def _note_policies(self, principal: Principal) -> None:
        """Write down the policies of a role when they are seen first, and when they changed: for iam.usage."""
        role = principal.who.role
        if not role:
            return
        boundary = (principal.boundary,) if principal.boundary is not None else ()
        for layer, policies in (("identity", principal.identity), ("boundary", boundary)):
            for policy in policies:
                if self._noted.get((role, policy.name)) is policy:
                    continue
                self._noted[role, policy.name] = policy
                statements = [
                    {"sid": one.sid, "effect": one.effect, "actions": ["NotAction"] if one.not_actions else one.actions}
                    for one in policy.statements
                ]
                self.note("policies", role=role, layer=layer, policy=policy.name, statements=statements)

    def _asks_as(self, ask: Ask, caller: Caller) -> Principal:
        if not ask.of:
            return caller.principal
        if ask.of.startswith("arn:"):
            return self.identities.role_principal(ask.of)
        return Principal(Who(ask.of, kind="service"))

    def _unsigned_service(self, environ: Environ, body: bytes) -> str:
        if b"Action=AssumeRoleWithWebIdentity" in body:
            return "sts"
        bucket = environ.get("PATH_INFO", "").lstrip("/").partition("/")[0]
        return "s3" if self.state.has_bucket(bucket) else "unsigned"

    def _web_identity(self, verdict: Verdict) -> None:
        parameters = verdict.request.parameters
        role_arn = str(parameters.get("RoleArn", ""))
        if role_arn.count(":") < 5:
            raise RefusedError("ValidationError", f"{role_arn} is invalid", 400)
        verdict.account = role_arn.split(":")[4]
        who, keys = self.identities.web_identity(parameters)
        verdict.principal = next((str(value) for key, value in keys.items() if key.endswith(":sub")), who.arn)
        self.identities.check_duration(parameters)
        known = TokenKeys({**{k: v for k, v in keys.items() if v is not None}, "aws:SecureTransport": "true",
                       "sts:RoleSessionName": parameters.get("RoleSessionName", "")})  # fmt: skip
        decision = self.identities.trusts(who, role_arn, "sts:AssumeRoleWithWebIdentity", known)
        ask = Ask("sts:AssumeRoleWithWebIdentity", role_arn, known, verdict.account)
        verdict.decisions.append(_recorded(Principal(who), ask, decision))
        if not decision.allowed:
            raise RefusedError(
                "AccessDenied",
                f"Not authorized to perform sts:AssumeRoleWithWebIdentity ({verdict.principal} on {role_arn}: "
                f"{decision.nearest or decision.because})",
            )

    def _refusal(
        self, request: ApiRequest, principal: Principal, ask: Ask, decision: Decision
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        message = (
            f"User: {principal.who.arn} is not authorized to perform: {ask.action} on resource: {ask.resource} "
            f"{decision.because}" + (f". Nearest: {decision.nearest}" if decision.nearest else "")
        )
        code, status = requests.refusal_code(request)
        if ask.of:
            code, status = ask.code or code, 400
            message = message.replace("User: ", "", 1)
        elif request.protocol == "ec2":
            message = f"You are not authorized to perform this operation. {message}"
        return requests.error(request, status, code, message)


def _recorded(principal: Principal, ask: Ask, decision: Decision) -> dict[str, Any]:
    """Return a decision as the journal keeps it: enough to decide again without one of the actions."""
    who = principal.who
    record: dict[str, Any] = {"action": ask.action, "resource": ask.resource, "allowed": decision.allowed}
    if ask.of:
        record["of"] = who.role or who.arn
    if decision.allowed:
        record["by"] = {
            layer: [[one.policy, one.sid, one.pattern] for one in found]
            for layer, found in decision.by.items()
            if found
        }
        if decision.resource_alone:
            record["resource_alone"] = True
    else:
        record["because"] = decision.because
        record["nearest"] = decision.nearest
        if ask.hides:
            record["hides"] = ask.hides
    return record
