"""What a render must be."""

import signal

# A shell that starts the tests in the background has Ctrl-C ignored, in them and in what they start; some send one.
signal.signal(signal.SIGINT, signal.default_int_handler)
