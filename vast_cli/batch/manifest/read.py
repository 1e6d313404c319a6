"""A manifest's bytes to its jobs: the syntax by its ending, then the layers of values, then jobs."""

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
from vast_cli.batch.manifest.cells import Cleaner
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import ENVIRONMENT
from vast_cli.batch.manifest.resolve import Entry, Source, make_jobs
from vast_cli.batch.manifest.tables import Sheet
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
        warnings: what its user should know.
    """

    path: Path | None
    folder: Path
    jobs: tuple[Job, ...]
    sha256: str
    warnings: tuple[str, ...]
    source: Source = field(repr=False, compare=False)


def load(
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
    raw = _bytes(path, stdin)
    faults = Faults("column" if path is not None and path.suffix.lower() in (".csv", ".tsv") else "key")
    sheet = _sheet(path, _decoded(raw, path), folder, faults)

    given = {name: environment[variable] for name, variable in ENVIRONMENT.items() if environment.get(variable)}
    clean = Cleaner()
    layers = [("", clean.strictly(given, here, lambda key: f"`{ENVIRONMENT[key]}`"))]
    if sheet.defaults is not None:
        row = sheet.defaults
        layers.append((row.where, clean(row.cells, folder, lambda k, text: faults.add(row.where, text, key=k))))
    said = dict(command_line or {}) | ({} if output is None else {"output": output})
    layers.append(("", clean.strictly(said, here, lambda key: f"`--{key.replace('_', '-')}`")))
    entries = [
        Entry(row.where, row.order, clean(row.cells, folder, functools.partial(_tell, faults, row.where, row.order)))
        for row in sheet.rows
    ]
    source = Source(entries, layers, clean.strictly(overrides or {}, here, lambda key: f"`--set {key}`"), faults.noun)
    if not entries and not faults:
        faults.add("", "there is no job in it")
    jobs, warnings = make_jobs(source, folder, path, faults)
    return Manifest(path, folder, tuple(jobs), hashlib.sha256(raw).hexdigest(), (*sheet.warnings, *warnings), source)


def apply(manifest: Manifest, settings: Mapping[str, Any], *, ids: Collection[str] | None = None) -> Manifest:
    """The manifest with `--set key=value` for some jobs (all, if `ids` is None); ids stay what they are.

    Raises:
        VastError: `vast_option_invalid`; `vast_manifest_invalid` if the outputs of two jobs meet then.
    """
    patch = Cleaner().strictly(settings, Path.cwd(), lambda key: f"`--set {key}`")
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


def _bytes(path: Path | None, stdin: TextIO | None) -> bytes:
    if path is None:
        stream = stdin or sys.stdin
        raw = getattr(stream, "buffer", stream).read(MAX_BYTES + 1)
        raw = raw.encode() if isinstance(raw, str) else raw
    else:
        files.check_input(path)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise _invalid(path, f"more than {human_size(MAX_BYTES)}; make several manifests")
    return bytes(raw)


def _decoded(raw: bytes, path: Path | None) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _invalid(path, "the text is UTF-16; save it as UTF-8 (in Excel: `CSV UTF-8`)")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _invalid(path, f"line {line} is not UTF-8; save the file as UTF-8 (in Excel: `CSV UTF-8`)") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _invalid(path, f"line {line} holds a NUL byte; this is no text file")
    return text


def _sheet(path: Path | None, text: str, folder: Path, faults: Faults) -> Sheet:
    suffix = ".jsonl" if path is None else path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return tables.read_csv(text, faults, delimiter="\t" if suffix == ".tsv" else None)
    if suffix in (".jsonl", ".ndjson"):
        return tables.read_json_lines(text, faults)
    if suffix in (".yaml", ".yml", ".json"):
        return documents.read_document(text, folder, faults, is_json=suffix == ".json")
    raise _invalid(path, f"`{suffix}` is no manifest; there are .csv, .tsv, .jsonl, .ndjson, .yaml, .yml and .json")


def _invalid(path: Path | None, text: str) -> VastError:
    return VastError("vast_manifest_invalid", text, where="standard input" if path is None else str(path))


def _tell(faults: Faults, where: str, order: int, key: str, text: str) -> None:
    faults.add(where, text, key=key, order=order)
