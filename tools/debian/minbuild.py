#!/usr/bin/python3 -EsP
"""The program `minbuild` of the Debian package: the user's own Python packages do not reach it."""

import os
import sys

ROOM = "/usr/lib/minbuild"

sys.path.insert(0, ROOM)
os.environ["PYTHONPATH"] = ROOM  # of the processes that it starts
os.environ["PATH"] = f"{ROOM}/bin:{os.environ.get('PATH', os.defpath)}"  # shfmt

from minbuild.cli.main import main  # noqa: E402

main()
