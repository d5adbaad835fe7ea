"""Shells ignore SIGINT in what they start in the background; tests of Ctrl-C need it there too."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
