"""Starts the shim: `python -I -S .../shim POD_DIRECTORY`."""

import sys

from server import main

main(sys.argv[1])
