"""The fit: which frames are trusted, what is bridged, what a cut does. On landmarks made from the model."""

import numpy as np
import pytest

from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, LandmarkTrack, fit
from vast_cli.face.smooth import by_segment, savgol, unwrap
from vast_cli.records import FaceTrack


def landmarks(
    model: FaceModel, n: int, *, identity: Float32 | None = None, x: float = 128, turn: float = 0.1
) -> Float32:
    """A face that moves smoothly: [n, 478, 3]."""
    t = np.linspace(0, 4 * np.pi, n, dtype=np.float32)[:, None]
    expression = np.zeros((n, 233), np.float32)
    expression[:, :4] = np.sin(t * [1, 1.7, 2.3, 0.6]) * model.sd[:4]
    rotation = np.concatenate([0.05 * np.sin(t), turn + 0.05 * np.cos(t), 0 * t], 1)
    translation = np.concatenate([x + 3 * np.sin(t), 120 + 2 * np.cos(t), 0 * t], 1)
    mesh = model.decode(model.v_bar if identity is None else identity, expression)
    return model.place(mesh, rotation, np.full(n, 9, np.float32), translation)


def track_of(model: FaceModel, points: Float32, *, lost: tuple[int, ...] = (), cut: tuple[int, ...] = ()) -> FaceTrack:
    flag = np.ones(len(points), np.float32)
    flag[list(lost)] = 0
    cuts = np.isin(np.arange(len(points)), cut)
    return fit.fit_track(LandmarkTrack(points, flag, cuts, 256, 256, "", ()), model)


def test_a_track_places_the_mesh_where_the_landmarks_were(model: FaceModel) -> None:
    points = landmarks(model, 80)
    track = track_of(model, points)
    mesh = model.decode(track.identity, track.expression)
    placed = model.place(mesh, track.rotation, track.scale, track.translation)
    assert track.valid.all() and track.report["valid"] == 80
    assert np.abs(placed - points)[..., :2].mean() < 0.3  # pixels; the pose is smoothed


def test_short_gaps_are_bridged_and_counted(model: FaceModel) -> None:
    points = landmarks(model, 80)
    gap = tuple(range(30, 34))
    track = track_of(model, points, lost=gap)
    assert track.report["bridged"] == 4 and track.valid.all()
    assert (track.score[30:34] == 0.5).all() and (track.segment == 0).all()
    whole = track_of(model, points)
    moved = np.abs(track.translation - whole.translation)[30:34, :2].max()
    assert moved < 1  # pixels


def test_long_gaps_are_lost_not_interpolated(model: FaceModel) -> None:
    track = track_of(model, landmarks(model, 90), lost=tuple(range(40, 50)))
    assert not track.valid[40:50].any() and (track.segment[40:50] == -1).all()
    assert track.report["lost_s"] == [[1.6, 2.0]]
    assert track.report["segments"] == 2 and track.segment[60] != track.segment[20]


def test_segments_of_another_person_are_dropped(model: FaceModel, rng: np.random.Generator) -> None:
    other = model.v_bar * np.array([1.12, 0.9, 1], np.float32)
    points = np.concatenate([landmarks(model, 60), landmarks(model, 30, identity=other, x=150), landmarks(model, 60)])
    track = track_of(model, points, cut=(60, 90))
    assert track.report["other_person"] == 30
    assert not track.valid[60:90].any() and track.valid[:60].all() and track.valid[90:].all()
    alone = track_of(model, landmarks(model, 60))
    assert 100 * np.abs(track.identity - alone.identity).max() / model.iod < 0.5


def test_a_jump_cut_of_the_same_person_is_kept(model: FaceModel) -> None:
    points = np.concatenate([landmarks(model, 60), landmarks(model, 60, x=170, turn=-0.3)])
    track = track_of(model, points, cut=(60,))
    assert track.valid.all() and track.report["segments"] == 2
    # the pose is not smeared over the cut
    assert track.translation[60, 0] - track.translation[59, 0] > 30


def test_turned_away_and_tiny_faces_are_not_trusted(model: FaceModel) -> None:
    points = np.concatenate([landmarks(model, 40), landmarks(model, 20, turn=1.1)])
    assert track_of(model, points).report["turned_away"] == 20
    with pytest.raises(VastError, match="too small") as caught:
        track_of(model, landmarks(model, 60) * 0.2)
    assert caught.value.code == "vast_face_lost"


@pytest.mark.parametrize(
    ("n", "lost", "enough"), [(31, 0, True), (31, 14, True), (8, 0, True), (7, 0, False), (100, 80, False)]
)
def test_how_many_frames_are_needed(model: FaceModel, n: int, lost: int, enough: bool) -> None:
    points = landmarks(model, n)
    if enough:
        assert track_of(model, points, lost=tuple(range(n - lost, n))).n_frames == n
    else:
        with pytest.raises(VastError) as caught:
            track_of(model, points, lost=tuple(range(n - lost, n)))
        assert caught.value.code == "vast_face_lost"


def test_a_known_identity_is_kept(model: FaceModel) -> None:
    points = landmarks(model, 40)
    n = len(points)
    identity = model.v_bar * np.float32(1.02)
    raw = LandmarkTrack(points, np.ones(n, np.float32), np.zeros(n, bool), 9, 9, "", ())
    track = fit.fit_track(raw, model, neutral=identity)
    assert np.array_equal(track.identity, identity)


def test_parabolas_pass_the_filter_unchanged() -> None:
    t = np.arange(20, dtype=np.float32)[:, None]
    parabola = 0.3 * t**2 - t + 2
    for window in (5, 9, 31):
        assert np.allclose(savgol(parabola, window), parabola, atol=1e-3)


def test_filters_do_not_cross_segments() -> None:
    values = np.concatenate([np.zeros((10, 1)), np.ones((10, 1))]).astype(np.float32)
    segment = np.repeat(np.array([0, 1], np.int16), 10)
    assert np.allclose(by_segment(values, segment, 9), values, atol=1e-6)


def test_rotations_beyond_half_a_turn_do_not_jump() -> None:
    angle = np.linspace(2.8, 3.5, 20)
    angle[angle > np.pi] -= 2 * np.pi
    vectors = np.stack([0 * angle, 0 * angle, angle], 1).astype(np.float32)
    assert np.abs(np.diff(unwrap(vectors)[:, 2])).max() < 0.1
