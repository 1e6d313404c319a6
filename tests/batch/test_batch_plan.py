"""Each job gets a state and a reason; what is not ours is never replaced unasked; nothing finished is made again."""

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
from vast_cli.batch.planning.decisions import Planned, counts, make_plan, parse_rerun_on
from vast_cli.batch.planning.fingerprint import Origin, origin
from vast_cli.batch.state import Journal
from vast_cli.batch.state.replay import find_journals, replay
from vast_cli.core.errors import VastError
from vast_cli.store.hashes import Hashes


@dataclass
class Batch:
    """A batch whose renders write a line of text."""

    folder: Path
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, job_id: str = "one", *, prompt: bool = True, output: str | None = None, **options: Any) -> Job:
        audio, video = self.folder / f"{job_id}.wav", self.folder / "prompt.mp4"
        audio.write_text(f"sound of {job_id}")
        video.write_text("prompt")
        job = Job(
            id=job_id, index=len(self.jobs) + 1, where="row", audio=audio, avatar="obama",
            prompt=video if prompt else None, output=self.folder / "out" / (output or f"{job_id}.mp4"),
            options={"crf": 18, "seed": 0} | options,
        )  # fmt: skip
        self.jobs.append(job)
        return job

    def plan(self, **options: Any) -> list[Planned]:
        return make_plan(self.jobs, replay(find_journals(self.folder)), Hashes(None), **options)

    def told(self, **options: Any) -> dict[str, str]:
        return {one.job.id: f"{one.action}:{one.reason}" for one in self.plan(**options)}

    def journal(self, *lines: tuple[str, Job, dict[str, Any]], name: str = "journal.jsonl", run: str = "r1") -> None:
        with Journal.open(self.folder / name, run=run) as out:
            out.append("run_started")
            for event, job, more in lines:
                out.append(event, id=job.id, attempt=1, **more)

    def render(self, job: Job, *, text: str | None = None) -> None:
        """As a coordinator does: start, file, name, line."""
        job.output.parent.mkdir(exist_ok=True)
        part = job.output.with_name(f".{job.id}.part")
        part.write_text(text or f"video of {job.id} {origin(job, Hashes(None)).fingerprint}")
        part.replace(job.output)
        self.journal(("job_started", job, {}), ("job_done", job, record(job)))

    def change(self, job: Job, **fields: Any) -> Job:
        other = dataclasses.replace(job, **fields)
        self.jobs[self.jobs.index(job)] = other
        return other


def record(job: Job) -> dict[str, Any]:
    there = origin(job, Hashes(None))
    status = job.output.stat()
    return {
        "fp": there.fingerprint, "origin": there.as_dict(), "output": str(job.output), "size": status.st_size,
        "mtime_ns": status.st_mtime_ns, "sha256": Hashes(None).digest(job.output), "action": "run",
    }  # fmt: skip


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path / "a b" / "日本 é'$(x);")


def edit(path: Path, text: str) -> None:
    """Change a file as people do: also its time."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


# --- reasons --------------------------------------------------------------------------------------------------------


def test_a_new_job_runs_and_a_done_one_does_not(batch: Batch) -> None:
    one = batch.add()
    assert batch.told() == {"one": "run:new"}
    batch.render(one)
    batch.add("two")
    assert batch.told() == {"one": "skip:done", "two": "run:new"}


def test_failed_and_interrupted_jobs_run(batch: Batch) -> None:
    one, two = batch.add("one"), batch.add("two")
    failure = {"code": "vast_no_face", "message": "no face", "hint": ""}
    batch.journal(("job_started", one, {}), ("job_failed", one, failure), ("job_started", two, {}))
    assert batch.told() == {"one": "run:failed", "two": "run:interrupted"}


def test_a_lost_output_is_made_again(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    one.output.unlink()
    assert batch.told() == {"one": "run:output_missing"}


def test_what_changed_is_told(batch: Batch) -> None:
    jobs = [batch.add(name) for name in ("audio", "option", "prompt", "lost")]
    for job in jobs:
        batch.render(job)
    jobs[0].audio.write_text("spoken anew")
    batch.change(jobs[1], options={"crf": 20, "seed": 0})
    batch.change(jobs[2], prompt=None)
    batch.change(jobs[3], options={"crf": 18, "seed": 1})
    jobs[3].output.unlink()
    assert batch.told() == {
        "audio": "run:input_changed:audio",
        "option": "run:option_changed:crf",
        "prompt": "run:input_changed:prompt",
        "lost": "run:output_missing",
    }


def test_models_avatar_and_format_are_told(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    one = batch.add()
    batch.render(one)
    there = origin(one, Hashes(None))
    for change, reason in (
        ({"models": {**there.models, "style": "0" * 16}}, "model_changed:style"),
        ({"avatar": "0" * 64}, "avatar_changed"),
        ({"format": 99}, "format_changed"),
    ):
        monkeypatch.setattr(decisions.Origins, "of", lambda _self, _job: dataclasses.replace(there, **change))  # noqa: B023
        assert batch.told() == {"one": f"run:{reason}"}
        assert batch.told(rerun_on={"input", "missing"}) == {"one": f"skip:{reason}"}


def test_going_back_to_an_earlier_version_of_the_inputs_needs_its_output(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    kept = one.output.with_suffix(".kept")
    shutil.copy2(one.output, kept)
    changed = batch.change(one, options={"crf": 30, "seed": 0})
    batch.render(changed)
    assert batch.told() == {"one": "skip:done"}
    batch.change(changed, options={"crf": 18, "seed": 0})
    assert batch.told() == {"one": "run:option_changed:crf"}
    kept.replace(one.output)
    assert batch.told() == {"one": "skip:done"}


def test_a_failed_change_taken_back_leaves_the_job_done(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    changed = batch.change(one, options={"crf": 30, "seed": 0})
    batch.journal(("job_started", changed, {}), ("job_failed", changed, {"code": "x", "message": "m"}))
    assert batch.told() == {"one": "run:failed"}
    batch.change(changed, options=one.options)
    assert batch.told() == {"one": "skip:done"}


def test_missing_inputs_and_avatars_are_refused_with_their_error(batch: Batch) -> None:
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


def test_order_additions_and_touched_files_rerun_nothing(batch: Batch) -> None:
    for k in range(20):
        batch.render(batch.add(f"job-{k}"))
    batch.jobs.reverse()
    batch.jobs = [dataclasses.replace(job, index=k, where="elsewhere") for k, job in enumerate(batch.jobs, 1)]
    for job in batch.jobs[::3]:
        os.utime(job.audio)
    for k in range(10):
        batch.add(f"new-{k}")
    told = batch.told()
    assert {name for name, what in told.items() if what == "run:new"} == {f"new-{k}" for k in range(10)}
    assert {what for name, what in told.items() if not name.startswith("new")} == {"skip:done"}


def test_a_moved_folder_stays_done(batch: Batch, tmp_path: Path) -> None:
    batch.render(batch.add())
    moved = Batch(tmp_path / "elsewhere")
    shutil.copytree(batch.folder, moved.folder, dirs_exist_ok=True)
    shutil.rmtree(batch.folder)
    moved.add()
    assert moved.told() == {"one": "skip:done"}


def test_a_copy_that_lost_its_times_stays_done(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    os.utime(one.output, ns=(1, 1))
    assert batch.told() == {"one": "skip:done"}


def test_another_output_name_is_another_video(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    batch.change(one, output=one.output.with_name("renamed.mp4"))
    assert batch.told() == {"one": "run:output_missing"}
    one.output.rename(one.output.with_name("renamed.mp4"))
    assert batch.told() == {"one": "skip:done"}


def test_two_jobs_that_change_names_replace_each_others_videos(batch: Batch) -> None:
    one, two = batch.add("one"), batch.add("two")
    batch.render(one)
    batch.render(two)
    batch.change(one, output=two.output)
    batch.change(two, output=one.output)
    assert batch.told() == {"one": "run:output_missing", "two": "run:output_missing"}


def test_the_output_of_a_job_that_left_the_manifest_may_go(batch: Batch) -> None:
    one = batch.add("one", output="1.mp4")
    batch.render(one)
    batch.jobs.clear()
    batch.add("two", output="1.mp4")
    assert batch.told() == {"two": "run:new"}


def test_two_jobs_alike_are_both_made(batch: Batch) -> None:
    one = batch.add("one")
    batch.jobs.append(dataclasses.replace(one, id="two", index=2, output=one.output.with_name("two.mp4")))
    batch.render(one)
    plan = batch.plan()
    assert [(p.action, p.reason) for p in plan] == [("skip", "done"), ("run", "new")]
    assert plan[0].origin == plan[1].origin


# --- files of others ------------------------------------------------------------------------------------------------


def test_a_file_that_was_there_before_is_refused(batch: Batch) -> None:
    one = batch.add()
    one.output.parent.mkdir()
    one.output.write_text("somebody's film")
    (planned,) = batch.plan()
    assert (planned.action, planned.reason) == ("refuse", "output_exists")
    assert planned.error is not None and planned.error.code == "vast_output_exists"
    assert batch.told(force=True) == {"one": "refuse:output_exists"}
    assert batch.told(overwrite=True) == {"one": "run:new"}


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_somebody_edited_is_refused(batch: Batch, same_size: bool) -> None:
    one = batch.add()
    batch.render(one)
    text = one.output.read_text()
    edit(one.output, text[::-1] if same_size else text + "!")
    (planned,) = batch.plan()
    assert (planned.action, planned.reason) == ("refuse", "output_changed")
    assert planned.error is not None and "changed since" in planned.error.message
    assert batch.told(overwrite=True) == {"one": "run:output_changed"}
    batch.change(one, options={"crf": 1, "seed": 0})
    assert batch.told() == {"one": "refuse:output_changed"}
    edit(one.output, text)  # put back: by content it is ours
    assert batch.told() == {"one": "run:option_changed:crf"}


def test_a_folder_in_the_way(batch: Batch) -> None:
    batch.add().output.mkdir(parents=True)
    assert batch.told() == {"one": "refuse:output_exists"}


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


def fingerprint_of(job: Job) -> str:
    return origin(job, Hashes(None)).fingerprint


def test_a_crash_between_name_and_line_is_adopted(batch: Batch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    batch.journal(("job_started", one, {}))
    film(one.output, fingerprint_of(one))
    assert batch.told() == {"one": "adopt:adopt"}
    batch.journal(("job_done", one, record(one)))
    assert batch.told() == {"one": "skip:done"}


def test_without_a_journal_finished_videos_are_adopted_and_others_are_not(
    batch: Batch, film: Callable[[Path, str], None]
) -> None:
    one, two = batch.add("one"), batch.add("two")
    film(one.output, fingerprint_of(one))
    film(two.output, fingerprint_of(one))
    assert batch.told() == {"one": "adopt:adopt", "two": "refuse:output_exists"}
    assert batch.told(force=True, overwrite=True) == {"one": "run:forced", "two": "run:forced"}


def test_a_crash_while_a_changed_job_was_done_again_is_adopted(batch: Batch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    batch.render(one)
    one = batch.change(one, options={"crf": 30, "seed": 0})
    batch.journal(("job_started", one, {}))
    assert batch.told() == {"one": "run:interrupted"}  # the old video is still there
    film(one.output, fingerprint_of(one))
    assert batch.told() == {"one": "adopt:adopt"}


def test_an_edited_video_that_kept_its_tag_is_not_adopted(batch: Batch, film: Callable[[Path, str], None]) -> None:
    one = batch.add()
    film(one.output, fingerprint_of(one))
    batch.journal(("job_started", one, {}), ("job_done", one, record(one)))
    with one.output.open("ab") as file:
        file.write(b"free" * 10)
    assert batch.told() == {"one": "refuse:output_changed"}
    batch.journal(("job_started", one, {}))  # made again by force, and killed after the rename
    assert batch.told() == {"one": "adopt:adopt"}


def test_a_sidecar_is_believed_about_its_own_video_only(batch: Batch) -> None:
    one = batch.add()
    one.output.parent.mkdir()
    one.output.write_text("video")
    beside = one.output.with_name("one.mp4.json")
    text = '{"fingerprint": "%s", "output": {"sha256": "%s"}}'
    beside.write_text(text % (fingerprint_of(one), Hashes(None).digest(one.output)))
    assert batch.told() == {"one": "adopt:adopt"}
    one.output.write_text("other")
    assert batch.told() == {"one": "refuse:output_exists"}
    for damage in ("", "[]", '{"fingerprint": 3}', '{"fingerprint": "x", "output": []}'):
        beside.write_text(damage)
        assert batch.told() == {"one": "refuse:output_exists"}


# --- what to run for ------------------------------------------------------------------------------------------------


def test_rerun_on_narrows_and_widens(batch: Batch) -> None:
    jobs = {name: batch.add(name) for name in ("done", "lost", "sound", "option", "failed", "stopped")}
    for name in ("done", "lost", "sound", "option"):
        batch.render(jobs[name])
    jobs["lost"].output.unlink()
    jobs["sound"].audio.write_text("anew")
    batch.change(jobs["option"], options={"crf": 1, "seed": 0})
    failure = {"code": "vast_no_face", "message": "m"}
    batch.journal(("job_failed", jobs["failed"], failure), ("job_started", jobs["stopped"], {}))
    batch.add("new")
    classes = {"lost": "missing", "sound": "input", "option": "option", "failed": "failed"}

    def running(words: str) -> set[str]:
        plan = make_plan(batch.jobs, replay(find_journals(batch.folder)), Hashes(None), rerun_on=parse_rerun_on(words))
        assert {one.action for one in plan} <= {"run", "skip"}
        assert [one.job.id for one in plan if one.reason == "done"] == ([] if words == "all" else ["done"])
        return {one.job.id for one in plan if one.action == "run"}

    assert {name for name, what in batch.told().items() if what.startswith("run")} == {*classes, "stopped", "new"}
    assert running("none") == {"stopped", "new"}
    assert running("all") == {*jobs, "new"}
    for name, word in classes.items():
        assert running(word) == {name, "stopped", "new"}
    assert running(" missing, failed ") == {"lost", "failed", "stopped", "new"}
    assert batch.told(rerun_on=["missing"])["sound"] == "skip:input_changed:audio"


@pytest.mark.parametrize("text", ["", ",", "inputs", "missing,bad"])
def test_unknown_words_are_named(text: str) -> None:
    with pytest.raises(VastError) as error:
        parse_rerun_on(text)
    assert error.value.code == "vast_option_invalid" and "missing, input, option" in error.value.hint


def test_force_makes_everything_anew(batch: Batch) -> None:
    batch.render(batch.add())
    assert batch.told(force=True) == {"one": "run:forced"}


def test_counts(batch: Batch) -> None:
    batch.render(batch.add("one"))
    batch.add("two")
    batch.add("three")
    assert list(counts(batch.plan()).items()) == [("run:new", 2), ("skip:done", 1)]


def test_lengths_of_sounds_are_known_where_they_are_needed(batch: Batch, speech: Path) -> None:
    one, two = batch.add("one"), batch.add("two")
    shutil.copy(speech, one.audio)
    assert [planned.sound_s for planned in batch.plan()] == [pytest.approx(4.0, abs=0.2), None]
    assert [planned.sound_s for planned in batch.plan(sounds=False)] == [None, None]
    batch.render(one)
    assert batch.plan()[0].sound_s is None
    assert two.audio.exists()


# --- shards, and how little a plan needs ----------------------------------------------------------------------------


def test_shards_of_another_number_know_what_is_done(batch: Batch) -> None:
    one, two = batch.add("one"), batch.add("two")
    batch.render(one)
    two.output.write_text("video of two")
    batch.journal(("job_started", one, {}), name="journal.1-of-2.jsonl")
    batch.journal(("job_done", two, record(two)), name="journal.2-of-3.jsonl")
    assert batch.told() == {"one": "skip:done", "two": "skip:done"}


def test_a_plan_loads_no_heavy_library() -> None:
    script = (
        "import sys, vast_cli.batch.decide, vast_cli.batch.journal, vast_cli.batch.estimate, vast_cli.batch.shards\n"
        "print([name for name in ('torch', 'cv2', 'av', 'numpy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_reads_no_content_it_remembers(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(5):
        batch.render(batch.add(f"job-{k}"))
    for path in batch.folder.rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns - 10**10,) * 2)  # the memory distrusts files of this second
    state = replay(find_journals(batch.folder))
    jobs = batch.jobs
    assert counts(make_plan(jobs, state, Hashes(tmp_path))) == {"skip:done": 5}

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("vast_cli.core.files.sha256", refuse)
    assert counts(make_plan(jobs, state, Hashes(tmp_path))) == {"skip:done": 5}


def test_an_origin_of_the_journal_is_as_good_as_a_fresh_one(batch: Batch) -> None:
    one = batch.add()
    batch.render(one)
    done = replay(find_journals(batch.folder)).job("one").done
    assert done is not None
    assert done.origin == origin(one, Hashes(None)) and isinstance(done.origin, Origin)
    assert done.fingerprint == done.origin.fingerprint
