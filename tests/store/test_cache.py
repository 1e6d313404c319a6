"""Records are made once for all processes; damage, removal and unwritable folders cost time and nothing else."""

import dataclasses
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vast_cli.core import files, locks
from vast_cli.core.errors import VastError
from vast_cli.records import Posteriorgram, Style
from vast_cli.store import cache as cache_module
from vast_cli.store.cache import NO_CACHE, Cache

KEY = {"source": "5" * 64, "face": "largest", "model": "m"}
SPAWN = multiprocessing.get_context("spawn")


def speech(seed: int = 0, n: int = 50) -> Posteriorgram:
    values = np.random.default_rng(seed).random((n, 40), np.float32)
    return Posteriorgram(values / values.sum(1, keepdims=True), n_samples=320 * n, model_hash="m")


def same(a: Posteriorgram, b: Posteriorgram) -> bool:
    return bool((a.values == b.values).all()) and (a.n_samples, a.model_hash) == (b.n_samples, b.model_hash)


def must_not_run() -> Posteriorgram:
    raise AssertionError("made again")


def fail(code: str) -> Callable[[], Posteriorgram]:
    def make() -> Posteriorgram:
        raise VastError(code, f"{code} of `a.mp4`", where="3 s", hint="help")

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a b" / "日本 é'$(x);"


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_record_is_made_once_and_read_by_others(folder: Path) -> None:
    made = Cache(folder).fetch(Posteriorgram, KEY, speech)
    cached = Cache(folder).fetch(Posteriorgram, dict(reversed(KEY.items())), must_not_run)
    assert same(made, speech()) and same(cached, speech())
    (entry,) = entries(folder)  # no lock, no draft
    key, digest, suffix = entry.name.split(".")
    assert entry.parent.relative_to(folder) == Path("ppgs") / key[:2]
    assert (digest, suffix) == (files.sha256(entry)[:16], "ppg")


def test_any_difference_in_the_key_the_kind_or_its_format_is_another_entry(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(folder)
    cache.fetch(Posteriorgram, KEY, speech)
    for key in (KEY | {"face": "left"}, {k: v for k, v in KEY.items() if k != "face"}, KEY | {"x": ""}):
        assert same(cache.fetch(Posteriorgram, key, lambda: speech(1)), speech(1))
    code = np.zeros(8, np.float32)
    style = Style(
        code,
        code,
        code,
        code,
        code,
        code,
        np.zeros((2, 3), np.float32),
        source="a",
        n_frames=1,
        speech_known=True,
        model_hash="m",
    )
    assert cache.fetch(Style, KEY, lambda: style) is style
    monkeypatch.setattr(Posteriorgram, "VERSION", 2)
    assert same(cache.fetch(Posteriorgram, KEY, lambda: speech(2)), speech(2))
    assert len(entries(folder)) == 6


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_entry_is_removed_and_made_again(folder: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    cache = Cache(folder)
    cache.fetch(Posteriorgram, KEY, speech)
    (entry,) = entries(folder)
    content = entry.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]  # a valid record all the same
    entry.write_bytes({"flip": flipped, "cut": content[:-1], "empty": b"", "other": b"x" * len(content)}[damage])
    assert same(cache.fetch(Posteriorgram, KEY, lambda: speech(3)), speech(3))
    assert "damaged" in caplog.text
    assert same(cache.fetch(Posteriorgram, KEY, must_not_run), speech(3))
    assert len(entries(folder)) == 1


def _fetch_keys(folder: Path, counter: Path, gate: Path, keys: int) -> None:
    """Fetch each key, recording every record made."""
    while not gate.exists():
        time.sleep(0.001)

    def make(index: int) -> Posteriorgram:
        with counter.open("a") as file:
            file.write(f"{index}\n")
        time.sleep(0.05)
        return speech(index)

    def fetch_all() -> None:
        cache = Cache(folder)
        for index in range(keys):
            record = cache.fetch(Posteriorgram, {"index": str(index)}, lambda: make(index))  # noqa: B023
            assert same(record, speech(index))

    threads = [threading.Thread(target=fetch_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_eight_processes_with_two_threads_each_make_each_entry_once(tmp_path: Path, folder: Path) -> None:
    counter, gate = tmp_path / "counter", tmp_path / "gate"
    processes = [SPAWN.Process(target=_fetch_keys, args=(folder, counter, gate, 5)) for _ in range(8)]
    for process in processes:
        process.start()
    time.sleep(0.5)  # most are ready; late ones only make the test weaker
    gate.touch()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(counter.read_text().split()) == [str(i) for i in range(5)]
    assert len(entries(folder)) == 5


def _hang(folder: Path, pid_file: Path) -> None:
    def make() -> Posteriorgram:
        pid_file.write_text(str(os.getpid()))
        time.sleep(60)
        return speech()

    Cache(folder).fetch(Posteriorgram, KEY, make)


def test_waiting_processes_go_on_when_the_maker_is_killed(tmp_path: Path, folder: Path) -> None:
    maker = SPAWN.Process(target=_hang, args=(folder, tmp_path / "pid"))
    maker.start()
    while not (tmp_path / "pid").exists():
        assert maker.is_alive()
        time.sleep(0.01)
    results: list[Posteriorgram] = []
    waiter = threading.Thread(target=lambda: results.append(Cache(folder).fetch(Posteriorgram, KEY, speech)))
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive()  # still waiting
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    waiter.join(10)
    maker.join(10)
    assert same(results[0], speech())


class TestFailures:
    def test_an_unusable_input_is_tried_once_per_run(self, folder: Path) -> None:
        with pytest.raises(VastError) as first:
            Cache(folder, run="r1").fetch(Posteriorgram, KEY, fail("vast_no_face"))
        with pytest.raises(VastError) as second:
            Cache(folder, run="r1").fetch(Posteriorgram, KEY, must_not_run)
        assert second.value.as_dict() == first.value.as_dict()
        for other in (Cache(folder, run="r2"), Cache(folder)):
            with pytest.raises(VastError, match="vast_face_lost"):
                other.fetch(Posteriorgram, KEY, fail("vast_face_lost"))

    def test_without_a_run_an_unusable_input_is_tried_each_time(self, folder: Path) -> None:
        for code in ("vast_no_face", "vast_bad_media"):
            with pytest.raises(VastError, match=code):
                Cache(folder).fetch(Posteriorgram, KEY, fail(code))

    @pytest.mark.parametrize("code", ["vast_out_of_memory", "vast_input_missing", "vast_disk_full", "vast_internal"])
    def test_failures_that_may_be_temporary_are_not_remembered(self, folder: Path, code: str) -> None:
        cache = Cache(folder, run="r1")
        with pytest.raises(VastError):
            cache.fetch(Posteriorgram, KEY, fail(code))
        assert same(cache.fetch(Posteriorgram, KEY, speech), speech())

    def test_a_record_made_since_outweighs_a_remembered_failure(self, folder: Path) -> None:
        with pytest.raises(VastError):
            Cache(folder, run="r1").fetch(Posteriorgram, KEY, fail("vast_no_face"))
        Cache(folder).fetch(Posteriorgram, KEY, speech)
        assert same(Cache(folder, run="r1").fetch(Posteriorgram, KEY, must_not_run), speech())

    def test_an_invalid_remembered_failure_is_ignored(self, folder: Path) -> None:
        cache = Cache(folder, run="r1")
        with pytest.raises(VastError):
            cache.fetch(Posteriorgram, KEY, fail("vast_no_face"))
        entries(folder)[0].write_text('{"code": "vast_no_such"')
        assert same(cache.fetch(Posteriorgram, KEY, speech), speech())


class TestUnusableFolder:
    def test_the_folder_may_be_removed_while_a_record_is_made(self, folder: Path) -> None:
        def make() -> Posteriorgram:
            shutil.rmtree(folder)
            return speech()

        cache = Cache(folder)
        assert same(cache.fetch(Posteriorgram, KEY, make), speech())
        assert same(cache.fetch(Posteriorgram, KEY, must_not_run), speech())

    def test_a_folder_that_cannot_be_written_costs_one_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        cache = Cache(tmp_path / "file" / "cache", run="r1")
        for seed in range(3):
            assert same(cache.fetch(Posteriorgram, KEY, lambda: speech(seed)), speech(seed))  # noqa: B023
        with pytest.raises(VastError, match="vast_no_face"):
            cache.fetch(Posteriorgram, KEY, fail("vast_no_face"))
        assert cache.prune() == 0
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    def test_entries_of_another_user_are_read_though_not_touched(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        cache = Cache(folder, run="r1")
        cache.fetch(Posteriorgram, KEY, speech)
        with pytest.raises(VastError):
            cache.fetch(Posteriorgram, KEY | {"bad": ""}, fail("vast_no_face"))
        monkeypatch.setattr(cache_module.os, "utime", refuse)
        assert same(cache.fetch(Posteriorgram, KEY, must_not_run), speech())
        with pytest.raises(VastError, match="vast_no_face"):
            cache.fetch(Posteriorgram, KEY | {"bad": ""}, must_not_run)

    def test_a_full_disk_does_not_fail_the_job(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise VastError("vast_disk_full", "no space left")

        cache = Cache(folder, run="r1")
        with monkeypatch.context() as patch:
            patch.setattr(cache_module.files, "atomic_write", full)
            for seed in range(2):
                assert same(cache.fetch(Posteriorgram, KEY, lambda: speech(seed)), speech(seed))  # noqa: B023
            with pytest.raises(VastError, match="vast_no_face"):
                cache.fetch(Posteriorgram, KEY, fail("vast_no_face"))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert entries(folder) == []
        assert same(cache.fetch(Posteriorgram, KEY, speech), speech())

    def test_no_cache_stores_nothing(self, tmp_path: Path) -> None:
        for seed in range(2):
            assert same(NO_CACHE.fetch(Posteriorgram, KEY, lambda: speech(seed)), speech(seed))  # noqa: B023
        (tmp_path / "a").write_bytes(b"a")
        assert NO_CACHE.hashes.digest(tmp_path / "a") == files.sha256(tmp_path / "a")
        assert NO_CACHE.prune() == 0


class TestPrune:
    @pytest.fixture
    def cache(self, folder: Path) -> Cache:
        """Five entries; the first is the least recently used."""
        cache = Cache(folder, max_bytes=10**9)
        for index in range(5):
            before = set(entries(folder))
            cache.fetch(Posteriorgram, {"index": str(index)}, lambda: speech(index))  # noqa: B023
            (new,) = set(entries(folder)) - before
            os.utime(new, (1e9 + index, 1e9 + index))
        return cache

    def remaining(self, folder: Path) -> list[int]:
        cache, cached = Cache(folder), []
        for index in range(5):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cache, "_store", lambda *_: None)
                made: list[int] = []
                cache.fetch(Posteriorgram, {"index": str(index)}, lambda: made.append(0) or speech())  # noqa: B023
                cached += [] if made else [index]
        return cached

    def test_least_recently_used_go_first(self, cache: Cache, folder: Path) -> None:
        size = entries(folder)[0].stat().st_size
        Cache(folder).fetch(Posteriorgram, {"index": "0"}, must_not_run)  # used now
        assert Cache(folder, max_bytes=3 * size).prune() == 2 * size
        assert self.remaining(folder) == [0, 3, 4]
        assert cache.prune() == 0

    def test_a_cache_prunes_itself(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_module, "PRUNE_EVERY", 1)
        cache = Cache(folder, max_bytes=20_000)
        for index in range(10):
            cache.fetch(Posteriorgram, {"index": str(index)}, lambda: speech(index))  # noqa: B023
        assert 0 < sum(path.stat().st_size for path in entries(folder)) <= 20_000

    def test_leftovers_of_dead_processes_are_removed(self, cache: Cache, folder: Path) -> None:
        with pytest.raises(VastError):
            Cache(folder, run="r1").fetch(Posteriorgram, {"bad": "1"}, fail("vast_no_face"))
        with pytest.raises(VastError):
            Cache(folder, run="dead").fetch(Posteriorgram, {"bad": "2"}, fail("vast_no_face"))
        (old_failure,) = folder.rglob("*.dead.error.json")
        os.utime(old_failure, (1e9, 1e9))
        entry = entries(folder)[0]
        key = entry.name.split(".")[0]
        draft = entry.with_name(f".{key}.123.draft.ppg")
        part = files.part_path(draft)
        for path in (draft, part, folder / "locks" / f"{key}.lock"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        before = set(entries(folder))
        with locks.hold(folder / "locks" / f"{key}.lock", record_owner=False):
            cache.prune()
            assert before - set(entries(folder)) == {old_failure}
        cache.prune()
        removed = before - set(entries(folder))
        assert removed == {old_failure, draft, part, folder / "locks" / f"{key}.lock"}

    def test_other_files_are_not_touched(self, cache: Cache, folder: Path) -> None:
        names = ["notes.txt", "videos/ab/holiday.mp4", "ppgs/ab/x.ppg", "locks/mine.lock", "tracks/file", "d/e/f/g"]
        foreign = [folder / name for name in names]
        for path in foreign:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 100_000)
        Cache(folder, max_bytes=0).prune()
        assert entries(folder) == sorted(foreign)

    def test_one_process_prunes_at_a_time(self, cache: Cache, folder: Path) -> None:
        with locks.hold(folder / "prune.lock", record_owner=False):
            assert Cache(folder, max_bytes=0).prune() == 0
        assert self.remaining(folder) == [0, 1, 2, 3, 4]

    def test_pruning_beside_reading_and_writing(self, folder: Path) -> None:
        stop = threading.Event()

        def prune() -> None:
            while not stop.is_set():
                Cache(folder, max_bytes=0).prune()

        thread = threading.Thread(target=prune)
        thread.start()
        try:
            cache = Cache(folder)
            for index in range(150):
                record = cache.fetch(Posteriorgram, {"index": str(index % 7)}, lambda: speech(index % 7))  # noqa: B023
                assert same(record, speech(index % 7))
        finally:
            stop.set()
            thread.join()


def test_records_survive_the_cache_unchanged(folder: Path) -> None:
    codes = np.random.default_rng(0).random((6, 8), np.float32)
    head = np.ones((2, 3), np.float32)
    style = Style(*codes, head, source="é'$(x);", n_frames=3, speech_known=False, model_hash="m")
    Cache(folder).fetch(Style, KEY, lambda: style)
    cached = Cache(folder).fetch(Style, KEY, lambda: pytest.fail("made again"))
    for field in dataclasses.fields(Style):
        assert np.array_equal(getattr(cached, field.name), getattr(style, field.name))


def test_one_warning_says_that_hashes_cannot_be_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (1e9, 1e9))
    cache = Cache(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.hashes.digest(tmp_path / "file")
    assert len(caplog.records) == 1
