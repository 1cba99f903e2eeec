"""Scheduled jobs, a module each, run with `python -m app.jobs.NAME`; project.yaml says when. Delete what you do not need."""
