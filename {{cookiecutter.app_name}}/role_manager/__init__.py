"""The database role manager: makes the roles of a PostgreSQL database what project.yaml declares.

Three actions: `plan` says which statements it would run and why, `apply` runs them in one transaction,
`check` fails on any difference and logs in as every role to prove what it can and cannot do.

In AWS it is a Lambda function (`handler.py`), whose archive holds this folder without its tests.
"""
