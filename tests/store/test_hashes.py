"""Hashes and durations of files are remembered while the file is unchanged, by many processes at once."""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from vast_cli.batch.planning.decisions import header_seconds
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.store import hashes
from vast_cli.store.hashes import FileHashes

OLD = 1_600_000_000  # a modification time well in the past


def write(path: Path, content: bytes, *, mtime: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    paths: list[Path] = []
    real = files.sha256

    def sha256(path: Path) -> str:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(hashes.files, "sha256", sha256)
    return paths


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache 日本 é'$(x);"


def test_a_file_is_read_once_for_all_processes(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "a b\n'\"%.wav", b"sound")
    expected = hashlib.sha256(b"sound").hexdigest()
    first, second = FileHashes(cache), FileHashes(cache)
    assert second.state(path) == (5, OLD * 10**9, expected)
    assert [first.digest(path), first.digest(path), FileHashes(cache).digest(path)] == [expected] * 3
    assert reads == [path]


def test_a_changed_file_is_read_again(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    file_hashes = FileHashes(cache)
    contents = [(b"one", OLD), (b"two", OLD + 1), (b"three", OLD + 1), (b"four", OLD - 5)]
    for content, mtime in contents:
        path = write(tmp_path / "a.wav", content, mtime=mtime)
        assert file_hashes.digest(path) == FileHashes(cache).digest(path) == hashlib.sha256(content).hexdigest()
    assert len(reads) == len(contents)


@pytest.mark.parametrize("age_s", [0, 1.5, -3600])
def test_a_file_that_may_still_change_under_its_time_stamp_is_not_remembered(
    tmp_path: Path, cache: Path, reads: list[Path], age_s: float
) -> None:
    now = time.time()
    file_hashes = FileHashes(cache)
    path = write(tmp_path / "a.wav", b"one", mtime=now - age_s)
    assert file_hashes.digest(path) == hashlib.sha256(b"one").hexdigest()
    write(path, b"two", mtime=now - age_s)  # same size, same time
    assert file_hashes.digest(path) == FileHashes(cache).digest(path) == hashlib.sha256(b"two").hexdigest()
    assert len(reads) == 3


def test_invalid_lines_are_skipped(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "a.wav", b"sound")
    FileHashes(cache).digest(path)
    log_file = cache / "hashes.jsonl"
    good = log_file.read_bytes()
    other = {"p": str(tmp_path / "b.wav"), "s": 1, "m": 1}
    bad = [b"\n", b"\xff\xfe", b"[" * 100_000, b'{"p": 1}', b"null", json.dumps(other | {"h": "short"}).encode(),
           json.dumps(other | {"d": float("nan")}).encode(), good[: len(good) // 2]]  # fmt: skip
    log_file.write_bytes(b"\n".join(bad[:-1]) + b"\n" + good + bad[-1])  # the last one is incomplete
    file_hashes = FileHashes(cache)
    assert file_hashes.digest(path) == hashlib.sha256(b"sound").hexdigest()
    assert reads == [path]
    more = write(tmp_path / "c.wav", b"more")  # its line ends up after the incomplete one
    assert file_hashes.digest(more) == FileHashes(cache).digest(more) == hashlib.sha256(b"more").hexdigest()


def test_the_file_may_be_removed_at_any_time(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    file_hashes = FileHashes(cache)
    paths = [write(tmp_path / f"{i}.wav", bytes([i])) for i in range(3)]
    file_hashes.digest(paths[0])
    shutil.rmtree(cache)
    file_hashes.digest(paths[1])
    assert [FileHashes(cache).digest(path) for path in paths[:2]] == [file_hashes.digest(path) for path in paths[:2]]
    assert reads == [paths[0], paths[1], paths[0]]


@pytest.mark.parametrize("folder", ["file/cache", None])
def test_without_a_folder_this_process_remembers(
    tmp_path: Path, reads: list[Path], caplog: pytest.LogCaptureFixture, folder: str | None
) -> None:
    write(tmp_path / "file", b"not a folder")
    file_hashes = FileHashes(None if folder is None else tmp_path / folder)
    paths = [write(tmp_path / f"{i}.wav", bytes([i])) for i in range(3)]
    with caplog.at_level(logging.WARNING):
        assert [file_hashes.digest(path) for path in paths] == [file_hashes.digest(path) for path in paths]
    assert reads == paths
    assert len(caplog.records) == (0 if folder is None else 1)


def test_preloaded_states_count_while_the_file_is_unchanged(tmp_path: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "a.wav", b"sound")
    file_hashes = FileHashes(None)
    file_hashes.preload({str(path): (5, OLD * 10**9, "f" * 64)})
    assert file_hashes.digest(path) == "f" * 64 and reads == []
    write(path, b"other", mtime=OLD + 1)
    assert file_hashes.digest(path) == hashlib.sha256(b"other").hexdigest()


def test_missing_files_and_folders_are_refused(tmp_path: Path, cache: Path) -> None:
    for path, code in ((tmp_path / "none", "vast_input_missing"), (tmp_path, "vast_input_unreadable")):
        for read in (FileHashes(cache).state, lambda path: FileHashes(cache).audio_s(path, measure=header_seconds)):
            with pytest.raises(VastError) as error:
                read(path)
            assert error.value.code == code


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.wav", b"")
    real = files.sha256

    def sha256(path: Path) -> str:
        digest = real(path)
        with path.open("ab") as file:
            file.write(b"more")
        return digest

    monkeypatch.setattr(hashes.files, "sha256", sha256)
    with pytest.raises(VastError) as error:
        FileHashes(cache).digest(path)
    assert error.value.code == "vast_input_changed"


def test_audio_durations_are_measured_once(
    tmp_path: Path, cache: Path, speech: Path, prompt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [Path(shutil.copy2(path, tmp_path)) for path in (speech, prompt)]
    copies.append(write(tmp_path / "no media.wav", b"text"))
    for path in copies:
        os.utime(path, (OLD, OLD))
    lengths = [FileHashes(cache).audio_s(path, measure=header_seconds) for path in copies]
    assert lengths == [pytest.approx(4, abs=0.5), pytest.approx(4, abs=3), None]
    digests = [FileHashes(cache).digest(path) for path in copies]  # a file has both, a hash and a duration

    from vast_cli import media

    monkeypatch.delattr(media, "probe")
    monkeypatch.delattr(files, "sha256")
    again = FileHashes(cache)
    assert [again.audio_s(path, measure=header_seconds) for path in copies] == lengths
    assert [again.digest(path) for path in copies] == digests


def _digest_all(cache: Path, folder: Path, start: int) -> None:
    file_hashes = FileHashes(cache)
    paths = sorted(folder.iterdir())
    for path in paths[start:] + paths[:start]:
        file_hashes.digest(path)


def test_many_processes_write_whole_lines(tmp_path: Path, cache: Path) -> None:
    for i in range(200):
        write(tmp_path / "files" / f"{i:03d} {'x' * 150}", bytes([i]))
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_digest_all, args=(cache, tmp_path / "files", 50 * k)) for k in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    lines = (cache / "hashes.jsonl").read_text().splitlines()
    assert {json.loads(line)["p"] for line in lines} == {str(path) for path in (tmp_path / "files").iterdir()}


def _fill(cache: Path, n_files: int, *, times: int = 1) -> None:
    cache.mkdir()
    lines = [
        json.dumps({"p": f"/media/a folder/{i}.wav", "s": i, "m": OLD * 10**9 + t, "h": f"{i:064x}"})
        for t in range(times)
        for i in range(n_files)
    ]
    (cache / "hashes.jsonl").write_text("\n".join(lines) + "\n")


def test_a_file_with_many_outdated_lines_is_rewritten(
    tmp_path: Path, cache: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SPARE_LINES", 20)
    _fill(cache, 10, times=10)
    path = write(tmp_path / "a.wav", b"sound")
    file_hashes = FileHashes(cache)
    file_hashes.digest(path)
    lines = [json.loads(line) for line in (cache / "hashes.jsonl").read_text().splitlines()]
    assert [line["p"] for line in lines] == [f"/media/a folder/{i}.wav" for i in range(10)] + [str(path)]
    assert {line["m"] for line in lines[:-1]} == {OLD * 10**9 + 9}  # the latest state of each
    file_hashes.digest(write(tmp_path / "b.wav", b"more"))
    assert len(FileHashes(cache)._path.read_text().splitlines()) == 12  # type: ignore[union-attr]
    assert [file.name for file in cache.iterdir()] == ["hashes.jsonl"]


def test_the_oldest_are_forgotten_first(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "MAX_FILES", 8)
    _fill(cache, 10)
    FileHashes(cache).digest(write(tmp_path / "a.wav", b"sound"))
    lines = [json.loads(line)["p"] for line in (cache / "hashes.jsonl").read_text().splitlines()]
    assert lines == [f"/media/a folder/{i}.wav" for i in range(6, 10)] + [str(tmp_path / "a.wav")]


def test_20_000_files_are_read_in_no_time(tmp_path: Path, cache: Path) -> None:
    _fill(cache, 20_000)
    path = write(tmp_path / "a.wav", b"sound")
    seconds = []
    for _ in range(3):
        started = time.process_time()  # of this process alone: the machine may be busy
        FileHashes(cache).digest(path)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.3
