"""Sends what a worker process prints to a log file."""

import logging
import os
import sys
from pathlib import Path


def redirect_output(path: Path) -> None:
    """Append standard output and standard error to a file, or drop them if it cannot be opened.

    In the coordinator's terminal, standard output is for results and standard error for the table.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
