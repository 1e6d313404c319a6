"""Manifest -> jobs: one model, three syntaxes, every fault of the file told at once.

Order of strength: `--set` > the job's own cell > command line > `defaults` > preset > `VAST_*` > built-in.
"""

from vast_cli.batch.manifest.json_schema import schema
from vast_cli.batch.manifest.options import BUILT_IN, KEYS, OPTIONS, Options, check_options
from vast_cli.batch.manifest.read import Manifest, apply, load

__all__ = ["BUILT_IN", "KEYS", "OPTIONS", "Manifest", "Options", "apply", "check_options", "load", "schema"]
