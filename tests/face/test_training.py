"""Training of the face model, the corpus index, and offsets of audio against video."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, LandmarkTrack, Topology, fit
from vast_cli.training import audio_offsets
from vast_cli.training.corpora import CorpusClip, audio_offset_basis, audio_offset_s, read_index
from vast_cli.training.face import train as training

COLUMNS = (
    "path set speaker sex language manner emotion seconds frames audio split sync_lag sync_r sync_ok audio_shift "
    "face_px src_face_px src_fps source_repo source_path commit licence sha256"
).split()


def write_index(folder: Path, clips: list[tuple[str, str, str]]) -> Path:
    """An index of (path, speaker, split)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for path, speaker, split in clips:
            row = {"path": path, "set": path.split("/")[0], "speaker": speaker, "split": split, "source_path": path}
            writer.writerow({**row, "seconds": "4", "frames": "100", "audio": "1"})
    return folder


def test_index_rows_become_clips(tmp_path: Path) -> None:
    clips = read_index(write_index(tmp_path, [("talk/a.mp4", "ann", "train"), ("mead/b.mp4", "bob", "val")]))
    assert [(c.key, c.speaker, c.split, c.n_frames, c.sync_ok) for c in clips] == [
        ("talk__a", "ann", "train", 100, None),
        ("mead__b", "bob", "val", 100, None),
    ]
    assert clips[0].path == tmp_path / "talk" / "a.mp4"


def test_an_unknown_split_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(VastError, match="line 2") as caught:
        read_index(write_index(tmp_path, [("talk/a.mp4", "ann", "tset")]))
    assert caught.value.code == "vast_record_invalid"


def test_val_speakers_and_second_copies_are_left_out_of_training(tmp_path: Path) -> None:
    rows = [("talk/a.mp4", "ann", "train"), ("talk/v.mp4", "vera", "val"), ("avatar/x.mp4", "ann", "train")]
    clips = read_index(write_index(tmp_path, rows))
    clips[2] = replace(clips[2], source=clips[0].source)
    assert [c.name for c in training.training_clips(clips)] == ["talk/a.mp4"]


def synthetic_corpus(model: FaceModel, folder: Path, n_speakers: int = 24) -> tuple[Path, Path]:
    """A corpus of landmarks that move by the model's own components, two clips a speaker."""
    rng = np.random.default_rng(3)
    names = [(f"talk/{s}_{k}.mp4", f"s{s}", "train") for s in range(n_speakers) for k in range(2)]
    cache = folder / "landmarks"
    cache.mkdir(parents=True)
    for name, _, _ in names:
        steps = rng.normal(size=(100, 233)).cumsum(0) / 3
        expression = (steps * model.sd).astype(np.float32)
        mesh = model.decode(model.v_bar, expression)
        pose = (0.1 * rng.normal(size=(100, 3)) / 10).cumsum(0).astype(np.float32)
        points = model.place(mesh, pose, np.full(100, 9, np.float32), np.full((100, 3), 128, np.float32))
        flag, cut = np.ones(100, np.float32), np.zeros(100, bool)
        LandmarkTrack(points, flag, cut, 256, 256, name, ()).save(cache / f"talk__{name[5:-4]}.npz")
    return write_index(folder / "video", names), cache


def test_training_recovers_the_components_that_clips_move_by(model: FaceModel, weights: Path, tmp_path: Path) -> None:
    corpus, cache = synthetic_corpus(model, tmp_path)
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for path in paths:
        base = weights / "face_model.safetensors"
        report = training.train_face_model(corpus, path, seed=0, landmarks_cache=cache, base=base, weights=weights)
    assert report["clips"] == 48 and report["speakers"] == 24
    assert report["base_strong_explained"] > 0.98 and report["base_weak_explained"] > 0.98
    first, second = (FaceModel.load(path) for path in paths)
    assert first.n_strong == 85
    assert np.array_equal(first.basis, second.basis)  # nothing is random
    assert np.array_equal(first.mean_expression_left, second.mean_expression_left)


def test_principal_components_have_a_definite_sign() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(50, 12)) * np.arange(1, 13)
    rows, sd = training.principal_components(samples.T @ samples / 50, 5)
    assert (rows[np.arange(5), np.abs(rows).argmax(1)] > 0).all()
    assert (np.diff(sd) < 0).all()
    assert np.allclose(rows @ rows.T, np.eye(5))


def test_mirrored_covariance_is_symmetric_under_the_mirror(topology: Topology) -> None:
    rng = np.random.default_rng(0)
    covariance = np.cov(rng.normal(size=(1434, 8)))
    once = training.with_mirror(covariance, topology)
    assert np.allclose(training.with_mirror(once, topology), once)


def test_closures_show_how_late_the_audio_is() -> None:
    """Lips that shut 80 ms before the audio have their minimum at -80 ms."""
    rng = np.random.default_rng(1)
    closed_ms = np.sort(rng.choice(np.arange(600, 19_000, 400), 20, replace=False)).astype(float)
    times = 40.0 * np.arange(500)
    gap = 10 * np.clip(np.abs(times[:, None] - closed_ms).min(1) / 80, 0, 1).astype(np.float32)
    late = audio_offsets.closures(gap.astype(np.float32), closed_ms + 80)
    assert late is not None and late.clear
    assert abs(late.best_ms + 80) < 10
    noise = audio_offsets.closures(rng.uniform(0, 10, 500).astype(np.float32), closed_ms)
    assert noise is not None and not noise.clear


# --- with the corpus ----------------------------------------------------------------------------------------------


def clip_of(corpus: Path, name: str) -> CorpusClip:
    return next(c for c in read_index(corpus) if c.name == name)


def test_synced_clips_have_no_offset_and_cuts_of_one_recording_agree(corpus: Path) -> None:
    assert audio_offset_s(clip_of(corpus, "talk/vr_face2.mp4")) == 0.02
    assert all(audio_offset_s(c) == 0 for c in read_index(corpus) if c.set in ("grid", "grid_s1"))
    assert all(audio_offset_basis(c) is None for c in read_index(corpus) if not c.has_audio)
    assert audio_offset_s(clip_of(corpus, "avatar/ted_lieu.mp4")) == audio_offset_s(
        clip_of(corpus, "talk/ted_lieu_1.mp4")
    )


@pytest.mark.parametrize("name", ["talk/ted_lieu_1.mp4", "talk/fi17.mp4"])
def test_corrected_audio_meets_the_lips(corpus: Path, model: FaceModel, weights: Path, name: str) -> None:
    """After the correction the lips are shut at P, B, M; before it they were not."""
    from vast_cli.face import track_landmarks
    from vast_cli.media import VideoReader

    clip = clip_of(corpus, name)
    frames = (frame for _, frame in zip(range(600), VideoReader(clip.path), strict=False))
    track = fit.fit_track(track_landmarks(frames, model, weights=weights), model)
    gap = model.lip_gap(track.identity, track.expression)
    spoken_ms = audio_offsets.middles(corpus.parent / "speech" / "video_labels.npz")[name]
    before = audio_offsets.closures(gap, spoken_ms)
    after = audio_offsets.closures(gap, spoken_ms - 1000 * audio_offset_s(clip))
    assert before is not None and after is not None
    in_sync = np.argmin(np.abs(audio_offsets.OFFSETS_MS + 30))  # GRID's pooled minimum is at -34 ms
    assert after.curve[in_sync] < 0.4 < before.curve[in_sync]
    assert abs(after.best_ms + 34) < 30 < abs(before.best_ms + 34)


def test_the_shipped_model_keeps_its_figures_on_an_unseen_speaker(
    corpus: Path, model: FaceModel, weights: Path
) -> None:
    from vast_cli.face import track_landmarks
    from vast_cli.media import VideoReader

    identities, rises = [], []
    for emotion in ("happy_l3", "neutral_l1"):
        video = VideoReader(corpus / "mead" / f"mead_W009_{emotion}.mp4")
        raw = track_landmarks(video, model, weights=weights)
        identity = model.neutral(raw.points)
        meshes, _ = model.stabilise(raw.points, identity)
        mean = meshes.mean(0)
        reconstructed = model.decode(mean, model.encode(meshes, mean))
        assert 100 * np.linalg.norm(reconstructed - meshes, axis=2).mean() / model.iod < 0.06  # %IOD
        gap, other = (np.linalg.norm(m[:, 13, :2] - m[:, 14, :2], axis=1) for m in (meshes, reconstructed))
        assert np.corrcoef(gap, other)[0, 1] > 0.9999
        identities.append(identity)
        rises.append(100 * (mean - identity)[[61, 291], 1].mean() / model.iod)
    # the smile is expression: the corners rise; the neutral mesh hardly changes
    assert rises[0] > 1.5 and rises[0] > rises[1] + 1
    assert 100 * np.sqrt(np.square(identities[0] - identities[1]).sum(1).mean()) / model.iod < 1.3
