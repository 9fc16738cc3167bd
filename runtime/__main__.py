"""Runs the command where it isn't installed: `python -m gia_mic.runtime predict FOLDER --text "no way"`."""

import sys

from .command import main

sys.exit(main())
