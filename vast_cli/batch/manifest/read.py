"""Loads a manifest: its syntax by the file's suffix, then its values from all sources, then its jobs."""

import functools
import hashlib
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import documents, tables
from vast_cli.batch.manifest.cells import CellParser, Values
from vast_cli.batch.manifest.faults import Faults, manifest_error
from vast_cli.batch.manifest.layers import ManifestEntry, ManifestSource
from vast_cli.batch.manifest.options import ENVIRONMENT
from vast_cli.batch.manifest.resolve import make_jobs
from vast_cli.batch.manifest.tables import RawManifest
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.text import human_size, suggest

MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Manifest:
    """All jobs of a file.

    Attributes:
        path: the file; None for standard input.
        folder: where its relative paths start.
        jobs: in the manifest's order.
        sha256: of the file's bytes.
        warnings: for the user.
        source: what the jobs are made from.
    """

    path: Path | None
    folder: Path
    jobs: tuple[Job, ...]
    sha256: str
    warnings: tuple[str, ...]
    source: ManifestSource = field(repr=False, compare=False)


def load_manifest(
    path: Path | None,
    *,
    output: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
    stdin: TextIO | None = None,
) -> Manifest:
    """Read a manifest: `.csv .tsv .jsonl .ndjson .yaml .yml .json`, or JSON Lines from standard input.

    Args:
        path: the file; None or `-` for standard input, whose relative paths start at the current folder.
        output: template of the command line (`-o`), starts at the current folder.
        overrides: `--set key=value`, strongest of all.
        command_line: options given to the command, weaker than a job's own cells.
        environment: `VAST_AVATAR`, `VAST_PRESET`, `VAST_SEED` are read from it.
        stdin: instead of `sys.stdin`.

    Raises:
        VastError: `vast_manifest_invalid` with a line for each fault, `vast_input_missing`, `vast_input_unreadable`,
            `vast_option_invalid` for what the command line says.
    """
    if path is not None and str(path) == "-":
        path = None
    here = Path.cwd()
    folder = here if path is None else path.absolute().parent
    content = _read_bytes(path, stdin)
    faults = Faults("column" if path is not None and path.suffix.lower() in (".csv", ".tsv") else "key")
    raw = _parse(path, _decode(content, path), folder, faults)

    parser = CellParser()
    defaults = _defaults(raw, folder, parser, faults)
    options = dict(command_line or {}) | ({} if output is None else {"output": output})
    source = ManifestSource(
        noun=faults.noun,
        layers=[
            ("", _environment(environment, here, parser)),
            *defaults,
            ("", parser.parse_strictly(options, here, lambda key: f"`--{key.replace('_', '-')}`")),
        ],
        entries=_entries(raw, folder, parser, faults),
        overrides=parser.parse_strictly(overrides or {}, here, _set_label),
    )
    if not source.entries and not faults:
        faults.add("", "the manifest has no jobs")
    jobs, warnings = make_jobs(source, folder, path, faults)
    return Manifest(path, folder, tuple(jobs), hashlib.sha256(content).hexdigest(), (*raw.warnings, *warnings), source)


def set_options(manifest: Manifest, settings: Mapping[str, Any], *, ids: Collection[str] | None = None) -> Manifest:
    """The manifest with `--set key=value` for some jobs (all, if `ids` is None); ids stay what they are.

    Raises:
        VastError: `vast_option_invalid`; `vast_manifest_invalid` if two jobs have one output then.
    """
    patch = CellParser().parse_strictly(settings, Path.cwd(), _set_label)
    known = {job.id for job in manifest.jobs}
    for name in ids or ():
        if name not in known:
            raise VastError(
                "vast_option_invalid",
                f"no job `{name}` in the manifest",
                hint=suggest(name, known, otherwise="`vast plan` lists the jobs"),
            )
    patches = {job.id: patch for job in manifest.jobs if ids is None or job.id in ids}
    source = manifest.source
    jobs, warnings = make_jobs(source, manifest.folder, manifest.path, Faults(source.noun), patches=patches)
    return replace(manifest, jobs=tuple(jobs), warnings=tuple(dict.fromkeys((*manifest.warnings, *warnings))))


def _environment(environment: Mapping[str, str], here: Path, parser: CellParser) -> Values:
    cells = {name: environment[variable] for name, variable in ENVIRONMENT.items() if environment.get(variable)}
    return parser.parse_strictly(cells, here, lambda key: f"`{ENVIRONMENT[key]}`")


def _defaults(raw: RawManifest, folder: Path, parser: CellParser, faults: Faults) -> list[tuple[str, Values]]:
    """The layer of the manifest's `defaults`, if it has any."""
    row = raw.defaults
    if row is None:
        return []
    report_fault = functools.partial(_add_fault, faults, row.where, 0)
    return [(row.where, parser.parse(row.cells, folder, report_fault))]


def _entries(raw: RawManifest, folder: Path, parser: CellParser, faults: Faults) -> list[ManifestEntry]:
    return [
        ManifestEntry(
            row.where,
            row.order,
            parser.parse(row.cells, folder, functools.partial(_add_fault, faults, row.where, row.order)),
        )
        for row in raw.rows
    ]


def _add_fault(faults: Faults, where: str, order: int, key: str, text: str) -> None:
    faults.add(where, text, key=key, order=order)


def _set_label(key: str) -> str:
    return f"`--set {key}`"


# --- syntax ---------------------------------------------------------------------------------------------------------


def _read_bytes(path: Path | None, stdin: TextIO | None) -> bytes:
    if path is None:
        stream = stdin or sys.stdin
        content = getattr(stream, "buffer", stream).read(MAX_BYTES + 1)
        content = content.encode() if isinstance(content, str) else content
    else:
        files.check_input(path)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise manifest_error(path, f"more than {human_size(MAX_BYTES)}; make several manifests")
    return bytes(content)


def _decode(content: bytes, path: Path | None) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise manifest_error(path, "the text is UTF-16; save it as UTF-8 (in Excel: `CSV UTF-8`)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"line {line} is not UTF-8; save the file as UTF-8 (in Excel: `CSV UTF-8`)"
        raise manifest_error(path, message) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise manifest_error(path, f"line {line} holds a NUL byte; this is not a text file")
    return text


def _parse(path: Path | None, text: str, folder: Path, faults: Faults) -> RawManifest:
    suffix = ".jsonl" if path is None else path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return tables.read_csv(text, faults, delimiter="\t" if suffix == ".tsv" else None)
    if suffix in (".jsonl", ".ndjson"):
        return tables.read_json_lines(text, faults)
    if suffix in (".yaml", ".yml", ".json"):
        return documents.read_document(text, folder, faults, is_json=suffix == ".json")
    raise manifest_error(
        path, f"`{suffix}` is not a format of manifests; use .csv, .tsv, .jsonl, .ndjson, .yaml, .yml or .json"
    )
