"""What must be true of the deployed platform, read from the API: a module for each layer, subjects.py lists all.

An empty plan proves little, for a provider sees only what it asks for. Each proof states claims about one of the
components of docs/system-architecture.md; a claim that does not hold names what is wrong.
"""
