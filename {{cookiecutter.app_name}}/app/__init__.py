"""The service: a small HTTP application, run with `python -m app`.

- `__main__`, `server`: the process, its signals and limits
- `main`: puts the parts together
- `api`, `openapi`, `problems`: how an operation is declared, described and refused
- `gateway`, `telemetry`: what happens around every request: identity, limits, logs, metrics
- `settings`: reads the environment
- `components/`: what this service consists of; each module there is found by being there
"""
