"""`vast plan`: what a batch would do, and why."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vast_cli.batch.manifest import JobOptions
from vast_cli.batch.options import BatchOptions
from vast_cli.batch.planning.decisions import PlannedJob, count_actions
from vast_cli.batch.planning.plan import Plan, plan_batch
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.cli import batch_options as common
from vast_cli.cli import console, options
from vast_cli.cli.options import JobInputs
from vast_cli.cli.parameters import Given, expand
from vast_cli.core.errors import Exit
from vast_cli.core.text import clock_in, duration, human_size

GROUPED_FROM = 40  # jobs; more are grouped by reason
EXAMPLES = 3
DOES = {"run": "run", "skip": "skip", "adopt": "adopt", "refuse": "fail"}
# texts of the reasons; the part after a colon goes into {}
REASONS = {
    "done": "done",
    "adopt": "finished, but not in the journal",
    "new": "new",
    "failed": "failed last time",
    "interrupted": "was interrupted",
    "output_missing": "its output is gone",
    "output_changed": "its output was changed",
    "output_exists": "a file of that name exists",
    "input_changed": "{} is another file now",
    "option_changed": "{} was changed",
    "model_changed": "made with another {} model",
    "avatar_changed": "its avatar was changed",
    "format_changed": "made by a version with another format",
    "forced": "requested",
}


@expand(given=[JobInputs, JobOptions], panel="Render")
def plan(
    manifest: common.Manifest,
    given: Given,
    output: common.Output = None,
    set: common.Set = None,
    all: Annotated[bool, typer.Option("--all", help="Every job on a line of its own, however many.")] = False,
    rerun_on: common.RerunOn = None,
    force: common.Force = False,
    overwrite: options.Overwrite = False,
    workers: common.Workers = 0,
    device: options.Device = "auto",
    cache: common.Cache = None,
    state: common.State = None,
    shard: common.Shard = None,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Say for each job of a manifest whether it would run and why; how long it takes and how much disk.

    vast plan jobs.csv -o 'out/{id}.mp4'

    Exit status 3 if some jobs cannot run as they are.
    """
    with ui_options.run() as ui:
        batch = common.opened(manifest, output, set, given.explicit, state, shard)
        batch_options = BatchOptions(
            workers=workers, overwrite=overwrite, force=force, rerun_on=common.rerun_on(rerun_on), cache=cache,
            device=device,
        )  # fmt: skip
        show(ui, batch, plan_batch(batch, batch_options), each=all)


def show(ui: console.Ui, batch: OpenBatch, plan: Plan, *, each: bool) -> None:
    """Print the plan on standard output and end the command."""
    for warning in (*batch.manifest.warnings, *plan.estimate.warnings):
        ui.warn(warning)
    if ui.json:
        ui.result([], document(batch, plan))
    else:
        for line in _jobs(plan.jobs, grouped=len(plan.jobs) > GROUPED_FROM and not each):
            typer.echo(line)
        for line in _totals(plan):
            typer.echo(line)
    if any(one.action == "refuse" for one in plan.jobs):
        raise typer.Exit(int(Exit.PARTIAL))


def document(batch: OpenBatch, plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "schema": "vast.plan/1",
        "manifest": batch.name,
        "state": str(batch.folder),
        "shard": None if batch.shard is None else str(batch.shard),
        "workers": plan.workers,
        "counts": count_actions(plan.jobs),
        "to_run": sum(one.action == "run" for one in plan.jobs),
        "estimate": plan.estimate.document(),
        "warnings": [*batch.manifest.warnings, *plan.estimate.warnings],
        "jobs": [_row(one) for one in plan.jobs],
    }


def _row(one: PlannedJob) -> dict[str, Any]:
    return {
        "id": one.job.id,
        "index": one.job.index,
        "where": one.job.where,
        "action": one.action,
        "reason": one.reason,
        "output": str(one.job.output),
        "fingerprint": None if one.fingerprint is None else one.fingerprint.digest,
        "sound_s": one.audio_s,
        "error": None if one.error is None else one.error.as_dict(),
    }


def _why(one: PlannedJob) -> str:
    if one.error is not None:
        return f"{one.error.message} [{one.error.code}]"
    name, _, detail = one.reason.partition(":")
    text = REASONS.get(name, name).format(detail)
    return text if one.action != "skip" or name == "done" else f"{text}, left out by `--rerun-on`"


def _jobs(planned: Sequence[PlannedJob], *, grouped: bool) -> list[str]:
    if not grouped:
        width = min(40, max((len(one.job.id) for one in planned), default=0))
        return [f"{DOES[one.action]:<5}  {one.job.id:<{width}}  {_why(one)}" for one in planned]
    groups: dict[tuple[str, str], list[PlannedJob]] = {}
    for one in planned:
        why = f"[{one.error.code}]" if one.error is not None else _why(one)
        groups.setdefault((one.action, why), []).append(one)
    lines = []
    for (action, why), ones in sorted(groups.items(), key=lambda item: (list(DOES).index(item[0][0]), -len(item[1]))):
        names = ", ".join(one.job.id for one in ones[:EXAMPLES]) + (", ..." if len(ones) > EXAMPLES else "")
        lines.append(f"{DOES[action]:<5}  {len(ones):>6}  {why}: {names}")
        if ones[0].error is not None:
            lines += [f"               {one.job.id}: {one.error.message}" for one in ones[:EXAMPLES] if one.error]
    return lines


def _totals(plan: Plan) -> list[str]:
    actions = [one.action for one in plan.jobs]
    parts = [
        f"{actions.count(action)} {text}"
        for action, text in (("run", "to run"), ("adopt", "to adopt"), ("skip", "to skip"), ("refuse", "will fail"))
        if action in actions
    ]
    lines = ["", f"{len(actions)} jobs: {', '.join(parts)}"]
    if "run" not in actions:
        return lines
    expected = plan.estimate
    if expected.seconds is None:
        audio = "" if expected.audio_s is None else f"{duration(expected.audio_s)} of audio; "
        return [*lines, f"{audio}time and disk are not known: {expected.hint}"]
    audio = "" if expected.audio_s is None else f" for {duration(expected.audio_s)} of audio"
    disk = "" if expected.bytes is None else f"; {human_size(expected.bytes)} of disk"
    workers = f"{plan.workers} worker{'s' if plan.workers > 1 else ''}"
    finish = clock_in(expected.seconds)
    return [
        *lines,
        f"about {duration(expected.seconds)}{audio} with {workers}, until {finish} if started now{disk} "
        f"(from {expected.source})",
    ]
