"""The simulated AWS and the docker of tests/workflows, which need the packages of a render."""
