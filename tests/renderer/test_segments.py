"""An interrupted render continues after its finished segments, and its output has the same bytes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from vast_cli import media
from vast_cli.core import locks
from vast_cli.core.errors import VastError
from vast_cli.pipeline import segments
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest, RenderResult
from vast_cli.renderer import RendererState

N_FRAMES = 200  # three segments of 96, 96 and 8 frames
OPTIONS = {"segment": 3.0, "encoder_preset": "fast", "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def audio(speech: Path, ffmpeg: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of speech."""
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    ffmpeg("-stream_loop", 2, "-i", speech, "-t", N_FRAMES / 25, "-ar", "16000", path)
    return path


@pytest.fixture
def make(bundle: Path, audio: Path, models: Models, tmp_path: Path) -> Iterator[Callable[..., RenderResult]]:
    """Render into the file `name` in `tmp_path`."""

    def call(name: str, *, parts: Path | None = None, stop_at: int = 0, **options: Any) -> RenderResult:
        def progress(stage: str, done: int, _total: int | None) -> None:
            if stage == "render" and done == stop_at:
                raise KeyboardInterrupt

        fields = {key: options.pop(key) for key in ("batch_size", "fingerprint") if key in options}
        request = RenderRequest.of(audio, str(bundle), tmp_path / name, values=OPTIONS | options, **fields)
        return render(request, models=models, parts=parts, progress=progress)

    yield call


@pytest.fixture(scope="module")
def whole(bundle: Path, audio: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Bytes of the uninterrupted render."""
    output = tmp_path_factory.mktemp("whole") / "whole.mp4"
    request = RenderRequest.of(audio, str(bundle), output, values=OPTIONS)
    result = render(request, models=models)
    assert (result.n_frames, result.taken_up) == (N_FRAMES, 0)
    assert [path.name for path in output.parent.iterdir()] == ["whole.mp4"]
    return output.read_bytes()


def stop(make: Callable[..., RenderResult], parts: Path, at: int, **options: Any) -> Path:
    """Interrupt a render at frame `at`; gives the folder of its segments."""
    with pytest.raises(KeyboardInterrupt):
        make("out.mp4", parts=parts, stop_at=at, **options)
    (folder,) = parts.iterdir()
    return folder


@pytest.mark.parametrize("seconds", [0.01, 3.0, 3.84, 60.0])
def test_cuts_are_whole_runs_of_the_prediction(seconds: float) -> None:
    for n in (1, 95, 96, 97, 192, 1535, 1536, 1537, 5000):
        cuts = segments.cut(n, seconds)
        assert [k for span in cuts for k in span] == list(range(n))
        assert all(span.start % 96 == 0 for span in cuts)
        assert len({len(span) for span in cuts[:-1]}) <= 1
    assert len(segments.cut(1536, 60.0)) == 1 and len(segments.cut(1537, 60.0)) == 2


# in the first segment, at the last frame of the second (not recorded yet), at the first frame of the third
@pytest.mark.parametrize("at", [50, 192, 193])
def test_an_interrupted_render_continues_with_the_same_bytes(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path, at: int
) -> None:
    parts = tmp_path / "a b" / "日本 é'$(x);#?"
    with pytest.raises(KeyboardInterrupt):
        make("out.mp4", parts=parts, stop_at=at)
    remaining = [path.name for path in tmp_path.iterdir()]
    assert remaining in ([], ["a b"])  # nothing beside the output
    result = make("out.mp4", parts=parts)
    assert result.taken_up == (at - 1) // 96
    assert result.output.read_bytes() == whole
    assert not parts.exists()


def test_bytes_do_not_depend_on_where_segments_are_stored(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    assert make("stored.mp4", parts=tmp_path / "parts").output.read_bytes() == whole
    readonly = tmp_path / "file"
    readonly.write_text("no folder")
    assert make("temporary.mp4", parts=readonly / "parts").output.read_bytes() == whole


def test_a_killed_process_loses_at_most_one_segment(
    make: Callable[..., RenderResult], whole: bytes, bundle: Path, audio: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    code = f"""
from pathlib import Path
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest
def progress(stage, done, total):
    if stage == "render":
        print(done, flush=True)
render(RenderRequest.of(
    Path({str(audio)!r}), {str(bundle)!r}, Path({str(tmp_path / "out.mp4")!r}), values={OPTIONS!r}
), parts=Path({str(parts)!r}), progress=progress)
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 120:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.communicate()
    assert not (tmp_path / "out.mp4").exists()
    (folder,) = parts.iterdir()
    assert {path.name for path in folder.glob("*.json")} == {"00000.json"}
    result = make("out.mp4", parts=parts)
    assert result.taken_up == 1 and result.output.read_bytes() == whole
    assert not parts.exists(), "the unfinished file of the killed process is removed, too"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "video": lambda folder: flip(folder / "00001.mp4"),
    "state": lambda folder: flip(folder / "00001.safetensors"),
    "truncated": lambda folder: (folder / "00001.mp4").write_bytes((folder / "00001.mp4").read_bytes()[:999]),
    "missing": lambda folder: (folder / "00001.mp4").unlink(),
    "record": lambda folder: (folder / "00001.json").write_text("{"),
    "list": lambda folder: (folder / "00001.json").write_text("[1]"),
    "foreign": lambda folder: [
        (folder / f"00001.{end}").write_bytes((folder / f"00000.{end}").read_bytes())
        for end in ("mp4", "safetensors", "json")
    ],
    "key": lambda folder: (folder / "00001.json").write_text(
        json.dumps(json.loads((folder / "00001.json").read_text()) | {"key": "0"})
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_detected(tmp_path: Path, kind: str) -> None:
    state = RendererState(np.ones((1, 2, 3, 4), np.float32), "float32")
    with segments.open_store(tmp_path, {}) as store:
        for k in range(2):
            store.video(k).write_bytes(b"%d" % k * 5000)
            store.keep(k, range(96 * k, 96 * (k + 1)), state)
        assert store.has(1, range(96, 192))
        DAMAGE[kind](store.video(1).parent)
        assert not store.has(1, range(96, 192))
        assert store.has(0, range(96))


def test_only_a_damaged_segment_is_rendered_again(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    folder = stop(make, parts, 193)
    flip(folder / "00000.mp4")
    result = make("out.mp4", parts=parts)
    assert result.taken_up == 1 and result.output.read_bytes() == whole


def test_segments_of_other_options_are_not_used(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    stop(make, parts, 100)
    for number, options in enumerate(({"crf": 30, "batch_size": 4}, {"seed": 5, "detail": "mesh"})):
        assert make(f"{number}.mp4", parts=parts, **options).taken_up == 0
    result = make("out.mp4", parts=parts)
    assert result.taken_up == 1 and result.output.read_bytes() == whole, "the segments are still there"


def test_h265_continues_after_an_interruption(make: Callable[..., RenderResult], tmp_path: Path) -> None:
    expected = make("whole.mp4", codec="h265", detail="mesh").output.read_bytes()
    stop(make, tmp_path / "parts", 100, codec="h265", detail="mesh")
    result = make("out.mp4", parts=tmp_path / "parts", codec="h265", detail="mesh")
    assert result.taken_up == 1 and result.output.read_bytes() == expected


def test_two_processes_do_not_disturb_each_other(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    """The same render twice: one uses the folder, the other works without it."""
    parts = tmp_path / "parts"
    folder = stop(make, parts, 100)
    with locks.hold(folder / segments.LOCK, record_owner=False, keep_file=False):
        second: list[RenderResult] = []
        thread = threading.Thread(target=lambda: second.append(make("second.mp4", parts=parts)))
        thread.start()
        thread.join()
        assert second[0].taken_up == 0 and second[0].output.read_bytes() == whole
        assert (folder / "00000.json").exists()
    assert make("out.mp4", parts=parts).taken_up == 1


def test_frames_equal_those_of_a_render_without_segments(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    """Segments affect the encoding only: frames are compared at lossless quality."""
    with media.VideoReader(make("one.mp4", segment=60.0, crf=0).output) as reader:
        one = np.stack(list(reader))
    with media.VideoReader(make("cut.mp4", crf=0).output) as reader:
        assert np.array_equal(np.stack(list(reader)), one)
    assert len(one) == N_FRAMES
    (tmp_path / "whole.mp4").write_bytes(whole)
    info = media.probe(tmp_path / "whole.mp4")
    assert abs(info.duration_s - N_FRAMES / 25) < 1e-6 and info.has_audio


def test_segments_store_states_of_every_dtype(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, 4, 3, 2)).astype(np.float32)
    with segments.open_store(tmp_path / "parts", {"a": 1}) as store:
        for k, state in enumerate(
            (RendererState(values, "bfloat16"), RendererState(np.zeros(0, np.float32), "float32"))
        ):
            store.video(k).write_bytes(b"video")
            store.keep(k, range(k, k + 1), state)
            assert store.has(k, range(k, k + 1))
            loaded = store.state(k)
            assert loaded.dtype == state.dtype and np.array_equal(loaded.values, state.values)
        assert not store.has(0, range(2)), "other frames"
    with segments.open_store(tmp_path / "parts", {"a": 2}) as store:
        assert not store.has(0, range(1))


def test_old_segments_are_removed(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    with segments.open_store(parts, {}) as store:
        store.video(0).write_bytes(b"video")
        changed = store.video(0).stat().st_mtime
        segments.sweep_old(parts, older_than_s=100, now_s=changed + 1000)
        assert store.video(0).exists(), "the folder is in use"
    segments.sweep_old(parts, older_than_s=100, now_s=changed + 99)
    assert store.video(0).exists()
    segments.sweep_old(parts, older_than_s=100, now_s=changed + 101)
    assert not parts.exists()


def test_a_full_disk_is_reported(
    make: Callable[..., RenderResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: segments.SegmentStore, *_: object) -> None:
        raise VastError("vast_disk_full", "no space left")

    monkeypatch.setattr(segments.SegmentStore, "keep", full)
    with pytest.raises(VastError) as caught:
        make("out.mp4", parts=tmp_path / "parts")
    assert caught.value.code == "vast_disk_full"
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_fingerprint_is_in_the_video_and_in_the_sidecar(
    make: Callable[..., RenderResult], whole: bytes, tmp_path: Path
) -> None:
    import av

    for name, segment in (("cut.mp4", 3.0), ("whole.mp4", 60.0)):
        result = make(name, segment=segment, fingerprint="ab" * 32, sidecar=True, detail="mesh")
        with av.open(str(result.output)) as container:
            assert container.metadata["fingerprint"] == "ab" * 32
        written = json.loads((tmp_path / f"{name}.json").read_text())
        assert written == result.sidecar
        assert written["fingerprint"] == "ab" * 32
        assert written["output"]["sha256"] == hashlib.sha256(result.output.read_bytes()).hexdigest()
        assert "sidecar" not in result.document()
