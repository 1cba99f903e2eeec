"""The rendered workflows, run: GitHub's side of them in Python, every job's steps in nektos/act.

`github.py` decides what GitHub decides (which workflows start, in which order jobs run, what waits for whom),
`runner.py` gives one job to act, `actions.py` stands in for third-party actions, `server.py` is the REST API and the
services that a job reaches, `tests/machinery/workflows/aws.py` the simulated AWS. Each of them refuses what the real
one refuses.
"""
