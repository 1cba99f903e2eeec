"""The service: a small HTTP application on FastAPI, run with `python -m app`.

- `routes/`: what it answers; each module there is found by being there
- `models`, `migrations/`: the tables, and how they came about; `migrate` applies them
- `database`, `appconfig` with `flags`: what routes work with; `parts` starts and stops it
- `main` puts it together; `settings`, `middleware`, `problems`, `logs` are around every request
"""
