"""Errors for people: what is wrong, what to do next, and an exit code that says which kind it was."""

from __future__ import annotations


class OpsError(Exception):
    """Something failed. `next_step` is what the reader should do about it."""

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class WrongUse(OpsError):  # noqa: N818 - said as a person would
    """The request can't be meant so: unknown environment, layer, image, or a setting that breaks a rule."""

    exit_code = 2


class AccountError(OpsError):
    """Credentials, account, or an account that was not bootstrapped."""

    exit_code = 3


class StateLocked(OpsError):  # noqa: N818
    """Somebody else holds the lock of a layer's state."""

    exit_code = 4


class DeploymentFailed(OpsError):  # noqa: N818
    """A migration or a rollout failed. The version that ran before still serves."""

    exit_code = 6


EXIT_CHANGES = 5  # `plan --detailed-exitcode`: the plan is not empty
EXIT_INTERRUPTED = 130  # the shell's own code for Ctrl-C
