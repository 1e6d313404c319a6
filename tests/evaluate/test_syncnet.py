"""SyncNet with random weights: its inputs are right, lags have the right sign, short clips have no score."""

import cv2
import numpy as np
import pytest
import torch

from vast_cli.evaluate.external import syncnet, syncnet_crops
from vast_cli.evaluate.external.mfcc import mfcc


@pytest.fixture(scope="module")
def syncnet_model(tmp_path_factory, randomised):
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(
        randomised(syncnet.SyncNetwork()), path, _use_new_zipfile_serialization=False
    )  # the published file is of the old kind
    return syncnet.load_syncnet(path)


def crops(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3)).astype(np.uint8)


def test_lip_features_do_not_depend_on_batches(syncnet_model, monkeypatch):
    frames = crops(9)
    whole = syncnet_model.embed_lips(frames)
    assert whole.shape == (5, 1024)
    monkeypatch.setattr(syncnet, "BATCH", 2)
    np.testing.assert_allclose(syncnet_model.embed_lips(iter(frames)), whole, rtol=1e-3, atol=1e-4 * abs(whole).max())
    assert syncnet_model.embed_lips(frames[:4]).shape == (0, 1024)
    with pytest.raises(ValueError, match="crop"):
        syncnet_model.embed_lips([np.zeros((96, 96, 3), np.uint8)])


def test_audio_of_a_window_starts_with_its_first_frame(syncnet_model):
    samples = np.random.default_rng(0).integers(-9000, 9000, 60 * 640).astype(np.int16)
    whole = syncnet_model.embed_audio(samples, 50)
    later = syncnet_model.embed_audio(samples[10 * 640 :], 40)
    # the first cepstrum of a stretch has no sample before it
    np.testing.assert_allclose(later[1:], whole[11:], rtol=1e-3, atol=1e-4 * abs(whole).max())


def lag_by_definition(lips, audio):
    n, lags = len(lips), range(-15, 16)
    rows = [[audio[i + k] if 0 <= i + k < n else np.zeros(lips.shape[1]) for i in range(n)] for k in lags]
    return [np.mean([np.linalg.norm(lips[i] - row[i] + 1e-6) for i in range(n)]) for row in rows]


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 9])
def test_a_late_video_has_its_lateness_as_offset(late):
    rng = np.random.default_rng(0)
    audio = rng.normal(size=(150, 1024)).astype(np.float32)
    lips = (audio[30 - late : 130 - late] + rng.normal(size=(100, 1024)) * 0.3).astype(np.float32)
    score = syncnet.score_features(lips, audio[30:130])
    by_lag = lag_by_definition(lips.astype(float), audio[30:130].astype(float))
    assert score.offset == late
    assert score.dist == pytest.approx(min(by_lag), rel=1e-5)
    assert score.conf == pytest.approx(np.median(by_lag) - min(by_lag), rel=1e-4)
    assert score.dist_lag0 == pytest.approx(by_lag[15], rel=1e-5)
    assert score.windows == 100


def test_fewer_than_fifty_frames_have_no_score(syncnet_model):
    audio = np.ones(100 * 640, np.int16)
    boxes = np.tile([10.0, 10, 110, 110], (49, 1))
    assert syncnet_model.score_video(iter([]), boxes, audio) is None
    assert syncnet_model.score(iter([]), audio[: 49 * 640]) is None


def test_fifty_frames_have_a_score_of_45_windows(syncnet_model, monkeypatch):
    monkeypatch.setattr(syncnet_model, "embed_lips", lambda frames: np.ones((len(list(frames)) - 4, 1024), np.float32))
    samples = np.random.default_rng(0).integers(-9000, 9000, 52 * 640).astype(np.int16)
    score = syncnet_model.score(iter(crops(60)), samples[: 50 * 640 + 5])
    assert score is not None
    assert score.windows == 45
    assert syncnet_model.score(iter(crops(51)), samples).windows == 46


def test_the_crop_reaches_below_the_face_and_is_grey_outside():
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[50:150, 100:200] = (255, 128, 0)  # the face box: x 100-200, y 50-150
    found = list(syncnet_crops.crop_faces([frame] * 20, np.tile([100.0, 50, 200, 150], (20, 1))))
    assert found[10].shape == (224, 224, 3)
    # half side 50: from y = 100 - 50 to 100 + 90, x = 150 +- 70
    assert tuple(found[10][2, 112]) == (0, 128, 255)  # BGR
    inside = (found[10] == (0, 128, 255)).all(2)
    assert inside[:, 112].sum() == pytest.approx(100 / 140 * 224, abs=2)
    assert inside[5].sum() == pytest.approx(100 / 140 * 224, abs=2)
    corner = list(syncnet_crops.crop_faces([frame] * 20, np.tile([-50.0, -50, 50, 50], (20, 1))))
    assert (corner[10][:70, :90] == 110).all()


def test_a_box_that_jumps_for_three_frames_does_not_move_the_crop():
    frame = crops(1)[0]
    boxes = np.tile([60.0, 60, 160, 160], (40, 1))
    jumping = boxes.copy()
    jumping[18:21] += 30
    steady, jumped = (list(syncnet_crops.crop_faces([frame] * 40, b)) for b in (boxes, jumping))
    for a, b in zip(steady[6:-6], jumped[6:-6], strict=True):
        np.testing.assert_array_equal(a, b)


def test_invalid_boxes_are_refused():
    frames = [np.zeros((100, 100, 3), np.uint8)] * 20
    boxes = np.tile([10.0, 10, 60, 60], (20, 1))
    for wrong in (boxes[:5], boxes[:, :3], boxes * np.nan, boxes + 1000, boxes[:, [0, 1, 0, 1]]):
        with pytest.raises(ValueError, match="box"):
            list(syncnet_crops.crop_faces(frames, wrong))
    with pytest.raises(ValueError, match="more frames"):
        list(syncnet_crops.crop_faces(frames, boxes[:15]))
    assert not syncnet_crops.large_enough(boxes)
    assert syncnet_crops.large_enough(boxes * 3)


def test_files_between_keep_number_order_and_content():
    frames = []
    for k in range(30):
        image = cv2.GaussianBlur(crops(1, seed=1)[0], (0, 0), 6)
        frames.append(cv2.circle(image, (20 + 6 * k, 112), 12, (0, 0, 255), -1))
    decoded = list(syncnet_crops.through_files(iter(frames)))
    assert len(decoded) == 30
    for before, after in zip(frames, decoded, strict=True):
        errors = [np.abs(after.astype(int) - other).mean() for other in frames]
        assert np.abs(after.astype(int) - before).mean() == min(errors) < 12


def test_cepstra_of_long_audio_equal_those_of_its_parts():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000 * 160).astype(np.int16)
    whole = mfcc(samples)
    assert whole.shape == (4999, 13)  # 1 + ceil((n - 400) / 160)
    start = 4090  # around the border of a block
    np.testing.assert_allclose(mfcc(samples[start * 160 :][:8000])[1:40], whole[start + 1 : start + 40], atol=1e-9)


def test_loudness_goes_into_the_first_cepstrum_only():
    quiet = np.random.default_rng(0).integers(-1000, 1000, 16000).astype(np.int16)
    difference = mfcc(quiet * 8) - mfcc(quiet)
    np.testing.assert_allclose(difference[:, 0], np.log(64), atol=1e-9)
    np.testing.assert_allclose(difference[:, 1:], 0, atol=1e-9)


def test_cepstra_of_digital_silence_are_finite():
    assert np.isfinite(mfcc(np.zeros(1000, np.int16))).all()
    for wrong in (np.zeros(0, np.int16), np.zeros(100), np.zeros((2, 100), np.int16)):
        with pytest.raises(ValueError, match="int16"):
            mfcc(wrong)
