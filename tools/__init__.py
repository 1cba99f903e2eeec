"""What maintainers and `make project` run; nothing here reaches a rendered repository."""
