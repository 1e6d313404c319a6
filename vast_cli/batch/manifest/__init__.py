"""Reads manifests: tables, JSON Lines, YAML or JSON become jobs, or all faults of the file are reported at once.

Where a value comes from, strongest first: `--set`, the job's own cell, the command line, `defaults`, the preset,
`VAST_*`, the built-in default.
"""

from vast_cli.batch.manifest.json_schema import manifest_schema
from vast_cli.batch.manifest.options import BUILT_IN, KEYS, OPTIONS, PRESET_OPTIONS, JobOptions, check_options
from vast_cli.batch.manifest.read import Manifest, load_manifest, set_options

__all__ = [
    "BUILT_IN",
    "KEYS",
    "OPTIONS",
    "PRESET_OPTIONS",
    "JobOptions",
    "Manifest",
    "check_options",
    "load_manifest",
    "manifest_schema",
    "set_options",
]
