"""Options that the commands on manifests share, and the parsing of their values."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vast_cli.batch.planning import decisions, shards
from vast_cli.batch.state import folder
from vast_cli.core.errors import ERROR_KINDS, VastError
from vast_cli.core.text import suggest

STATE, MACHINE, FAILURES = "State", "Machine", "When things fail"
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

Manifest = Annotated[
    Path, typer.Argument(help="Table (.csv, .tsv), .jsonl or .yaml; `-` reads JSON Lines from standard input.")
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="TEMPLATE", help="Names of the videos, like 'out/{x_lang}/{id}.mp4'."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A value for all jobs, stronger than their own cells."),
]
State = Annotated[
    Path | None,
    typer.Option("--state", help="Folder for journal, logs, report; NAME.vast otherwise.", rich_help_panel=STATE),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N|auto",
        help="Only this part of the jobs; auto: as Slurm, Kubernetes or AWS Batch say.",
        rich_help_panel=STATE,
    ),
]
RerunOn = Annotated[
    str | None,
    typer.Option(metavar="LIST", help=f"What finished jobs run again for: {','.join(decisions.RERUN_ON)}, all, none."),
]
Force = Annotated[bool, typer.Option("--force", help="Run everything again.")]
Repair = Annotated[
    bool, typer.Option("--repair", help="Keep the good lines of a broken journal.", rich_help_panel=STATE)
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait while another run holds the batch.", rich_help_panel=STATE)]
Cache = Annotated[
    Path | None,
    typer.Option(help="Tracks, styles and posteriorgrams; the platform's otherwise.", rich_help_panel=MACHINE),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Jobs at once; 0: one a core as memory allows, or a GPU.", rich_help_panel=MACHINE)
]
Threads = Annotated[
    int,
    typer.Option(min=0, help="CPU threads of each worker; 0: the cores shared among them.", rich_help_panel=MACHINE),
]
JobsPerWorker = Annotated[
    int | None, typer.Option(min=1, help="Replace a worker after so many jobs.", rich_help_panel=MACHINE)
]
Executor = Annotated[str, typer.Option(metavar="local|ray", help="Where workers run.", rich_help_panel=MACHINE)]
Retries = Annotated[
    int,
    typer.Option(
        min=0, help="Further attempts when memory or a worker failed, after 2, 4, 8 s.", rich_help_panel=FAILURES
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(metavar="N|P%", help="No new jobs after so many failures.", rich_help_panel=FAILURES),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="No new jobs after the first failure.", rich_help_panel=FAILURES)
]
Timeout = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Limit of one attempt: 90, 90s, 30m, 1:30:00.", rich_help_panel=FAILURES),
]
Stall = Annotated[str, typer.Option(metavar="TIME", help="Limit without any progress.", rich_help_panel=FAILURES)]
Events = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|-", help="What happens, as JSON Lines (`vast schema events`).", rich_help_panel="Output"
    ),
]
Joblog = Annotated[
    Path | None, typer.Option(help="Table of jobs in the columns of GNU parallel.", rich_help_panel="Output")
]
Report = Annotated[
    bool, typer.Option("--report/--no-report", help="Write report.html at the end.", rich_help_panel="Output")
]


def assignments(words: Sequence[str] | None) -> dict[str, str]:
    """`--set key=value` as a table; the last of one key counts.

    Raises:
        VastError: `vast_option_invalid`.
    """
    found: dict[str, str] = {}
    for word in words or ():
        key, sign, value = word.partition("=")
        if not sign or not key.strip():
            raise VastError("vast_option_invalid", f"`--set {word}` is not understood", hint="like `--set crf=20`")
        found[key.strip()] = value
    return found


def seconds(text: str, option: str) -> float:
    """A length of time: `90`, `90s`, `30m`, `2h`, `1:30`, `1:30:00`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    plain = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", text)
    if plain and float(plain[1]) > 0:
        return float(plain[1]) * UNITS[plain[2]]
    if re.fullmatch(r"\s*\d+(:[0-5]\d){1,2}\s*", text):
        total = 0
        for part in text.split(":"):
            total = 60 * total + int(part)
        if total:
            return float(total)
    raise VastError("vast_option_invalid", f"`{option} {text}` is not a time", hint="like 90, 90s, 30m, 2h or 1:30:00")


def failures(text: str | None, *, fail_fast: bool) -> dict[str, Any]:
    """`--max-failures 20`, `5%`, `--fail-fast` as fields of `BatchOptions`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if fail_fast:
        return {"max_failures": 1}
    if text is None:
        return {}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if found and found[2] and 0 < float(found[1]) <= 100:
        return {"max_failed_share": float(found[1]) / 100}
    if found and not found[2] and found[1].isdecimal() and int(found[1]) > 0:
        return {"max_failures": int(found[1])}
    raise VastError(
        "vast_option_invalid", f"`--max-failures {text}` is not understood", hint="a number of jobs, or a share: 5%"
    )


def shard_of(text: str | None, environment: Mapping[str, str] = os.environ) -> shards.Shard | None:
    """`--shard`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    return None if text is None else shards.parse_shard(text, environment)


def rerun_on(text: str | None) -> frozenset[str]:
    """`--rerun-on`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    return frozenset(decisions.RERUN_ON) if text is None else decisions.parse_rerun_on(text)


def executor(name: str) -> str:
    """`--executor`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    from vast_cli.batch.execution.executors import EXECUTORS

    if name not in EXECUTORS:
        raise VastError("vast_option_invalid", f"no executor `{name}`", hint=f"there are {', '.join(EXECUTORS)}")
    return name


def opened(
    manifest: Path,
    output: str | None,
    words: Sequence[str] | None,
    given: Mapping[str, Any],
    state: Path | None,
    shard: str | None,
    *,
    remember: bool = False,
) -> folder.OpenBatch:
    """Open the batch that a command line names."""
    return folder.open_batch(
        manifest, output=output, options=given, overrides=assignments(words), state=state, shard=shard_of(shard),
        reuse_options=remember,
    )  # fmt: skip


def shell_words(batch: folder.OpenBatch) -> str:
    """The manifest, and the state folder if it lies elsewhere, quoted for a shell."""
    path = batch.manifest.path
    if path is None:
        return f"- --state {_quoted(batch.folder)}"
    usual = batch.folder == path.with_name(f"{path.stem}.vast").absolute()
    return _quoted(path) + ("" if usual else f" --state {_quoted(batch.folder)}")


def _quoted(path: Path) -> str:
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def codes(names: Sequence[str] | None) -> frozenset[str]:
    """`--code`, with or without `vast_`.

    Raises:
        VastError: `vast_option_invalid`.
    """
    found = set()
    for name in names or ():
        code = name if name.startswith("vast_") else f"vast_{name}"
        if code not in ERROR_KINDS:
            raise VastError("vast_option_invalid", f"no error code `{name}`", hint=suggest(code, ERROR_KINDS))
        found.add(code)
    return frozenset(found)
