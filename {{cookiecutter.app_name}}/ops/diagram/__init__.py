"""The architecture's picture: architecture.toml says what there is, draw.py draws it."""
