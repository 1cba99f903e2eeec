"""What the evaluator does not know: it says so by name and lets nothing through."""


class UndecidableError(Exception):
    """A call, an operator, a key or an element of a policy that is not known here; the message names it."""
