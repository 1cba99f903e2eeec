"""Deploys this repository to a simulated AWS on this machine and proves that it works.

`make rehearse` needs no AWS account and no Docker: the real Terraform provider talks to a simulator
(`ops.rehearsal.simulator`), tasks and functions run as processes, the database is a real PostgreSQL.
"""
