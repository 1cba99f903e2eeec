"""Decides calls as AWS's IAM does. Pure: nothing here knows the simulator.

    policy      documents, statements, policy variables           conditions  the operators
    decide      identity, boundary, session, resource and endpoint policies together
    calls       from an API call to actions, resources and condition keys; exceptions.py is its table of what AWS does otherwise
    keys        the condition keys of a request                   reference   the Service Authorization Reference
    web_identity  GitHub's tokens                                 usage       what a run's journal says of the policies
    questions   what one document says, for the proofs            roles       a role read through the API

Whatever is not known is an `UndecidableError` that names it. Nothing is let through.
"""
