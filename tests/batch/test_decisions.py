"""Each job gets an action and a reason; foreign files are never replaced unasked, finished jobs never run again."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vast_cli.batch.job import Job
from vast_cli.batch.planning import decisions
from vast_cli.batch.planning.decisions import PlannedJob, count_actions, parse_rerun_on, plan_jobs
from vast_cli.batch.planning.fingerprint import Fingerprint, Fingerprinter
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.state.journal_replay import find_journals, replay_journals
from vast_cli.core.errors import VastError
from vast_cli.store.hashes import FileHashes


@dataclass
class FakeBatch:
    """A batch whose renders write a line of text."""

    folder: Path
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, job_id: str = "one", *, prompt: bool = True, output: str | None = None, **options: Any) -> Job:
        audio, video = self.folder / f"{job_id}.wav", self.folder / "prompt.mp4"
        audio.write_text(f"audio of {job_id}")
        video.write_text("prompt")
        job = Job(
            id=job_id, index=len(self.jobs) + 1, where="row", audio=audio, avatar="obama",
            prompt=video if prompt else None, output=self.folder / "out" / (output or f"{job_id}.mp4"),
            options={"crf": 18, "seed": 0} | options,
        )  # fmt: skip
        self.jobs.append(job)
        return job

    def plan(self, **options: Any) -> list[PlannedJob]:
        return plan_jobs(self.jobs, replay_journals(find_journals(self.folder)), FileHashes(None), **options)

    def actions(self, **options: Any) -> dict[str, str]:
        return {one.job.id: f"{one.action}:{one.reason}" for one in self.plan(**options)}

    def journal(self, *lines: tuple[str, Job, dict[str, Any]], name: str = "journal.jsonl", run: str = "r1") -> None:
        with Journal.open(self.folder / name, run=run) as out:
            out.append("run_started")
            for event, job, more in lines:
                out.append(event, id=job.id, attempt=1, **more)

    def render(self, job: Job, *, text: str | None = None) -> None:
        """As a coordinator does: start the job, write the file, rename it, write the line."""
        job.output.parent.mkdir(exist_ok=True)
        part = job.output.with_name(f".{job.id}.part")
        part.write_text(text or f"video of {job.id} {fingerprint_of(job).digest}")
        part.replace(job.output)
        self.journal(("job_started", job, {}), ("job_done", job, record(job)))

    def change(self, job: Job, **fields: Any) -> Job:
        other = dataclasses.replace(job, **fields)
        self.jobs[self.jobs.index(job)] = other
        return other


def record(job: Job) -> dict[str, Any]:
    fingerprint = fingerprint_of(job)
    status = job.output.stat()
    return {
        "fp": fingerprint.digest, "origin": fingerprint.as_dict(), "output": str(job.output), "size": status.st_size,
        "mtime_ns": status.st_mtime_ns, "sha256": FileHashes(None).digest(job.output), "action": "run",
    }  # fmt: skip


def fingerprint_of(job: Job) -> Fingerprint:
    return Fingerprinter(FileHashes(None)).fingerprint(job)


@pytest.fixture
def batch(tmp_path: Path) -> FakeBatch:
    return FakeBatch(tmp_path / "a b" / "日本 é'$(x);")


def edit(path: Path, text: str) -> None:
    """Change a file as an editor does, including its time."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


# --- reasons --------------------------------------------------------------------------------------------------------


def test_a_new_job_runs_and_a_done_one_does_not(batch: FakeBatch) -> None:
    one = batch.add()
    assert batch.actions() == {"one": "run:new"}
    batch.render(one)
    batch.add("two")
    assert batch.actions() == {"one": "skip:done", "two": "run:new"}


def test_failed_and_interrupted_jobs_run(batch: FakeBatch) -> None:
    one, two = batch.add("one"), batch.add("two")
    failure = {"code": "vast_no_face", "message": "no face", "hint": ""}
    batch.journal(("job_started", one, {}), ("job_failed", one, failure), ("job_started", two, {}))
    assert batch.actions() == {"one": "run:failed", "two": "run:interrupted"}


def test_a_missing_output_is_rendered_again(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    one.output.unlink()
    assert batch.actions() == {"one": "run:output_missing"}


def test_the_reason_names_what_changed(batch: FakeBatch) -> None:
    jobs = [batch.add(name) for name in ("audio", "option", "prompt", "lost")]
    for job in jobs:
        batch.render(job)
    jobs[0].audio.write_text("another recording")
    batch.change(jobs[1], options={"crf": 20, "seed": 0})
    batch.change(jobs[2], prompt=None)
    batch.change(jobs[3], options={"crf": 18, "seed": 1})
    jobs[3].output.unlink()
    assert batch.actions() == {
        "audio": "run:input_changed:audio",
        "option": "run:option_changed:crf",
        "prompt": "run:input_changed:prompt",
        "lost": "run:output_missing",
    }


def test_the_reason_names_models_avatar_and_format(batch: FakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    one = batch.add()
    batch.render(one)
    fingerprint = fingerprint_of(one)
    for change, reason in (
        ({"models": {**fingerprint.models, "style": "0" * 16}}, "model_changed:style"),
        ({"avatar": "0" * 64}, "avatar_changed"),
        ({"format": 99}, "format_changed"),
    ):
        changed = dataclasses.replace(fingerprint, **change)
        monkeypatch.setattr(decisions.Fingerprinter, "fingerprint", lambda _self, _job, result=changed: result)
        assert batch.actions() == {"one": f"run:{reason}"}
        assert batch.actions(rerun_on={"input", "missing"}) == {"one": f"skip:{reason}"}


def test_reverted_inputs_need_their_output(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    kept = one.output.with_suffix(".kept")
    shutil.copy2(one.output, kept)
    changed = batch.change(one, options={"crf": 30, "seed": 0})
    batch.render(changed)
    assert batch.actions() == {"one": "skip:done"}
    batch.change(changed, options={"crf": 18, "seed": 0})
    assert batch.actions() == {"one": "run:option_changed:crf"}
    kept.replace(one.output)
    assert batch.actions() == {"one": "skip:done"}


def test_reverting_a_failed_change_leaves_the_job_done(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    changed = batch.change(one, options={"crf": 30, "seed": 0})
    batch.journal(("job_started", changed, {}), ("job_failed", changed, {"code": "x", "message": "m"}))
    assert batch.actions() == {"one": "run:failed"}
    batch.change(changed, options=one.options)
    assert batch.actions() == {"one": "skip:done"}


def test_missing_inputs_and_avatars_are_refused_with_their_error(batch: FakeBatch) -> None:
    one, two, three = batch.add("one"), batch.add("two"), batch.add("three")
    batch.render(three)
    one.audio.unlink()
    batch.change(two, avatar="nobody")
    plan = batch.plan()
    assert [(one.action, one.reason) for one in plan] == [
        ("refuse", "vast_input_missing"),
        ("refuse", "vast_avatar_unknown"),
        ("skip", "done"),
    ]
    assert [one.error.code if one.error else None for one in plan] == [
        "vast_input_missing",
        "vast_avatar_unknown",
        None,
    ]


# --- manifests that change, folders that move ---------------------------------------------------------------------


def test_order_additions_and_touched_files_rerun_nothing(batch: FakeBatch) -> None:
    for k in range(20):
        batch.render(batch.add(f"job-{k}"))
    batch.jobs.reverse()
    batch.jobs = [dataclasses.replace(job, index=k, where="elsewhere") for k, job in enumerate(batch.jobs, 1)]
    for job in batch.jobs[::3]:
        os.utime(job.audio)
    for k in range(10):
        batch.add(f"new-{k}")
    actions = batch.actions()
    assert {name for name, what in actions.items() if what == "run:new"} == {f"new-{k}" for k in range(10)}
    assert {what for name, what in actions.items() if not name.startswith("new")} == {"skip:done"}


def test_a_moved_folder_stays_done(batch: FakeBatch, tmp_path: Path) -> None:
    batch.render(batch.add())
    moved = FakeBatch(tmp_path / "elsewhere")
    shutil.copytree(batch.folder, moved.folder, dirs_exist_ok=True)
    shutil.rmtree(batch.folder)
    moved.add()
    assert moved.actions() == {"one": "skip:done"}


def test_a_copy_that_lost_its_times_stays_done(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    os.utime(one.output, ns=(1, 1))
    assert batch.actions() == {"one": "skip:done"}


def test_another_output_name_is_another_video(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    batch.change(one, output=one.output.with_name("renamed.mp4"))
    assert batch.actions() == {"one": "run:output_missing"}
    one.output.rename(one.output.with_name("renamed.mp4"))
    assert batch.actions() == {"one": "skip:done"}


def test_two_jobs_that_swap_outputs_replace_each_others_videos(batch: FakeBatch) -> None:
    one, two = batch.add("one"), batch.add("two")
    batch.render(one)
    batch.render(two)
    batch.change(one, output=two.output)
    batch.change(two, output=one.output)
    assert batch.actions() == {"one": "run:output_missing", "two": "run:output_missing"}


def test_the_output_of_a_removed_job_is_replaced(batch: FakeBatch) -> None:
    one = batch.add("one", output="1.mp4")
    batch.render(one)
    batch.jobs.clear()
    batch.add("two", output="1.mp4")
    assert batch.actions() == {"two": "run:new"}


def test_two_equal_jobs_are_both_rendered(batch: FakeBatch) -> None:
    one = batch.add("one")
    batch.jobs.append(dataclasses.replace(one, id="two", index=2, output=one.output.with_name("two.mp4")))
    batch.render(one)
    plan = batch.plan()
    assert [(p.action, p.reason) for p in plan] == [("skip", "done"), ("run", "new")]
    assert plan[0].fingerprint == plan[1].fingerprint


# --- foreign files --------------------------------------------------------------------------------------------------


def test_a_foreign_file_is_refused(batch: FakeBatch) -> None:
    one = batch.add()
    one.output.parent.mkdir()
    one.output.write_text("a foreign video")
    (planned,) = batch.plan()
    assert (planned.action, planned.reason) == ("refuse", "output_exists")
    assert planned.error is not None and planned.error.code == "vast_output_exists"
    assert batch.actions(force=True) == {"one": "refuse:output_exists"}
    assert batch.actions(overwrite=True) == {"one": "run:new"}


@pytest.mark.parametrize("same_size", [True, False])
def test_an_edited_output_is_refused(batch: FakeBatch, same_size: bool) -> None:
    one = batch.add()
    batch.render(one)
    text = one.output.read_text()
    edit(one.output, text[::-1] if same_size else text + "!")
    (planned,) = batch.plan()
    assert (planned.action, planned.reason) == ("refuse", "output_changed")
    assert planned.error is not None and "changed since" in planned.error.message
    assert batch.actions(overwrite=True) == {"one": "run:output_changed"}
    batch.change(one, options={"crf": 1, "seed": 0})
    assert batch.actions() == {"one": "refuse:output_changed"}
    edit(one.output, text)  # restored: the content is ours
    assert batch.actions() == {"one": "run:option_changed:crf"}


def test_a_folder_with_the_outputs_name_is_refused(batch: FakeBatch) -> None:
    batch.add().output.mkdir(parents=True)
    assert batch.actions() == {"one": "refuse:output_exists"}


# --- adoption -------------------------------------------------------------------------------------------------------


@pytest.fixture
def film(ffmpeg: Callable[..., None], tmp_path: Path) -> Callable[[Path, str], None]:
    """Make a small video that carries a fingerprint."""

    def make(path: Path, fingerprint: str) -> None:
        path.parent.mkdir(exist_ok=True)
        part = tmp_path / "film.mp4"
        source = ["-f", "lavfi", "-i", "color=size=32x32:rate=25:duration=0.2"]
        ffmpeg(*source, "-movflags", "+faststart+use_metadata_tags", "-metadata", f"fingerprint={fingerprint}", part)
        shutil.move(part, path)

    return make


def test_an_output_renamed_before_a_crash_is_adopted(batch: FakeBatch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    batch.journal(("job_started", one, {}))
    film(one.output, fingerprint_of(one).digest)
    assert batch.actions() == {"one": "adopt:adopt"}
    batch.journal(("job_done", one, record(one)))
    assert batch.actions() == {"one": "skip:done"}


def test_without_a_journal_finished_videos_are_adopted_and_others_are_not(
    batch: FakeBatch, film: Callable[[Path, str], None]
) -> None:
    one, two = batch.add("one"), batch.add("two")
    film(one.output, fingerprint_of(one).digest)
    film(two.output, fingerprint_of(one).digest)
    assert batch.actions() == {"one": "adopt:adopt", "two": "refuse:output_exists"}
    assert batch.actions(force=True, overwrite=True) == {"one": "run:forced", "two": "run:forced"}


def test_a_changed_job_renamed_before_a_crash_is_adopted(batch: FakeBatch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    batch.render(one)
    one = batch.change(one, options={"crf": 30, "seed": 0})
    batch.journal(("job_started", one, {}))
    assert batch.actions() == {"one": "run:interrupted"}  # the old video is still there
    film(one.output, fingerprint_of(one).digest)
    assert batch.actions() == {"one": "adopt:adopt"}


def test_an_edited_video_with_a_fingerprint_is_not_adopted(batch: FakeBatch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    film(one.output, fingerprint_of(one).digest)
    batch.journal(("job_started", one, {}), ("job_done", one, record(one)))
    with one.output.open("ab") as file:
        file.write(b"free" * 10)
    assert batch.actions() == {"one": "refuse:output_changed"}
    batch.journal(("job_started", one, {}))  # rerun with --force and killed after the rename
    assert batch.actions() == {"one": "adopt:adopt"}


def test_a_sidecar_counts_for_its_own_video_only(batch: FakeBatch) -> None:
    one = batch.add()
    one.output.parent.mkdir()
    one.output.write_text("video")
    beside = one.output.with_name("one.mp4.json")
    text = '{"fingerprint": "%s", "output": {"sha256": "%s"}}'
    beside.write_text(text % (fingerprint_of(one).digest, FileHashes(None).digest(one.output)))
    assert batch.actions() == {"one": "adopt:adopt"}
    one.output.write_text("other")
    assert batch.actions() == {"one": "refuse:output_exists"}
    for damage in ("", "[]", '{"fingerprint": 3}', '{"fingerprint": "x", "output": []}'):
        beside.write_text(damage)
        assert batch.actions() == {"one": "refuse:output_exists"}


# --- reasons to run --------------------------------------------------------------------------------------------------


def test_rerun_on_selects_classes_of_reasons(batch: FakeBatch) -> None:
    jobs = {name: batch.add(name) for name in ("done", "lost", "audio", "option", "failed", "stopped")}
    for name in ("done", "lost", "audio", "option"):
        batch.render(jobs[name])
    jobs["lost"].output.unlink()
    jobs["audio"].audio.write_text("changed")
    batch.change(jobs["option"], options={"crf": 1, "seed": 0})
    failure = {"code": "vast_no_face", "message": "m"}
    batch.journal(("job_failed", jobs["failed"], failure), ("job_started", jobs["stopped"], {}))
    batch.add("new")
    classes = {"lost": "missing", "audio": "input", "option": "option", "failed": "failed"}

    def running(words: str) -> set[str]:
        plan = batch.plan(rerun_on=parse_rerun_on(words))
        assert {one.action for one in plan} <= {"run", "skip"}
        assert [one.job.id for one in plan if one.reason == "done"] == ([] if words == "all" else ["done"])
        return {one.job.id for one in plan if one.action == "run"}

    assert {name for name, what in batch.actions().items() if what.startswith("run")} == {*classes, "stopped", "new"}
    assert running("none") == {"stopped", "new"}
    assert running("all") == {*jobs, "new"}
    for name, word in classes.items():
        assert running(word) == {name, "stopped", "new"}
    assert running(" missing, failed ") == {"lost", "failed", "stopped", "new"}
    assert batch.actions(rerun_on=["missing"])["audio"] == "skip:input_changed:audio"


@pytest.mark.parametrize("text", ["", ",", "inputs", "missing,bad"])
def test_unknown_words_of_rerun_on_are_named(text: str) -> None:
    with pytest.raises(VastError) as error:
        parse_rerun_on(text)
    assert error.value.code == "vast_option_invalid" and "missing, input, option" in error.value.hint


def test_force_reruns_everything(batch: FakeBatch) -> None:
    batch.render(batch.add())
    assert batch.actions(force=True) == {"one": "run:forced"}


def test_count_actions(batch: FakeBatch) -> None:
    batch.render(batch.add("one"))
    batch.add("two")
    batch.add("three")
    assert list(count_actions(batch.plan()).items()) == [("run:new", 2), ("skip:done", 1)]


def test_audio_lengths_are_looked_up_for_jobs_that_run(batch: FakeBatch, speech: Path) -> None:
    one, two = batch.add("one"), batch.add("two")
    shutil.copy(speech, one.audio)
    assert [planned.audio_s for planned in batch.plan()] == [pytest.approx(4.0, abs=0.2), None]
    assert [planned.audio_s for planned in batch.plan(audio_lengths=False)] == [None, None]
    batch.render(one)
    assert batch.plan()[0].audio_s is None
    assert two.audio.exists()


# --- shards, and how little a plan loads -----------------------------------------------------------------------------


def test_another_number_of_shards_knows_what_is_done(batch: FakeBatch) -> None:
    one, two = batch.add("one"), batch.add("two")
    batch.render(one)
    two.output.write_text("video of two")
    batch.journal(("job_started", one, {}), name="journal.1-of-2.jsonl")
    batch.journal(("job_done", two, record(two)), name="journal.2-of-3.jsonl")
    assert batch.actions() == {"one": "skip:done", "two": "skip:done"}


def test_a_plan_loads_no_heavy_library() -> None:
    modules = ("planning.decisions", "planning.estimate", "planning.shards", "state.journal")
    script = (
        f"import sys, {', '.join(f'vast_cli.batch.{name}' for name in modules)}\n"
        "print([name for name in ('torch', 'cv2', 'av', 'numpy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_reads_no_content_it_has_cached(batch: FakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(5):
        batch.render(batch.add(f"job-{k}"))
    for path in batch.folder.rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns - 10**10,) * 2)  # the cache distrusts files of this second
    state = replay_journals(find_journals(batch.folder))
    jobs = batch.jobs
    assert count_actions(plan_jobs(jobs, state, FileHashes(tmp_path))) == {"skip:done": 5}

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("vast_cli.core.files.sha256", refuse)
    assert count_actions(plan_jobs(jobs, state, FileHashes(tmp_path))) == {"skip:done": 5}


def test_the_journal_gives_back_the_fingerprint(batch: FakeBatch) -> None:
    one = batch.add()
    batch.render(one)
    done = replay_journals(find_journals(batch.folder)).job("one").done
    assert done is not None
    assert done.fingerprint == fingerprint_of(one) and isinstance(done.fingerprint, Fingerprint)
    assert done.fingerprint_digest == done.fingerprint.digest
