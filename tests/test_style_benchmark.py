"""The arithmetic of `benchmarks/style.py` on series whose figures are known."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.face import FaceModel

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import style_figures as figures
from style_judge import COMPONENTS, Judge, JudgeClip, JudgeSettings, train_judge

torch.set_num_threads(1)  # these networks are too small for more
RANDOM = np.random.default_rng(0)
SD = np.full(233, 0.5)


def wave(n, hertz):
    return np.sin(2 * np.pi * hertz * np.arange(n) / 25)


def test_the_low_pass_keeps_speech_and_drops_what_is_faster():
    slow, fast = wave(500, 2)[:, None], wave(500, 11.3)[:, None]
    kept = figures.low_pass(slow + fast)
    assert np.abs(kept - slow)[50:-50].max() < 0.02


def test_moments_are_mean_and_log_spread_in_units_of_the_components():
    x = np.zeros((500, 233))
    x[:, 3] = 2 + wave(500, 1)
    unit = np.hypot(0.5, 0.05)
    m = figures.moments(x, SD)
    assert m.level[3] == pytest.approx(2 / unit, rel=1e-2)
    assert np.exp(m.log_sd[3]) - 0.02 == pytest.approx(np.sqrt(0.5) / unit, rel=1e-2)
    assert np.exp(np.delete(m.log_sd, 3)) == pytest.approx(0.02)


def test_variation_scales_with_the_motion_and_is_0_at_rest():
    x = RANDOM.normal(size=(200, 85)).cumsum(0) * 0.01
    assert figures.variation(3 * x + 5) == pytest.approx(3 * figures.variation(x), rel=1e-6)
    assert figures.variation(np.ones((200, 85))) == pytest.approx(0, abs=1e-6)


def test_the_slope_is_the_share_of_the_way_whatever_is_added_for_all():
    truth = RANDOM.normal(size=(20, 12))
    assert figures.slope(0.4 * truth + RANDOM.normal(size=12), truth) == pytest.approx(0.4)
    assert abs(figures.slope(RANDOM.normal(size=(20, 12)), truth)) < 0.3


def test_the_centred_line_up_is_blind_to_shrinking_and_a_common_offset_and_the_raw_one_is_not():
    references = RANDOM.normal(size=(20, 8))
    owners = np.arange(20).repeat(3)
    queries = 0.1 * references[owners] + 5
    assert (figures.ranks(queries, owners, references, centred=True) == 0).all()
    assert (figures.ranks(queries, owners, references, centred=False) == 0).mean() < 0.5
    assert (figures.ranks(references[owners], owners, references, centred=False) == 0).all()


def test_line_ups_of_a_few_count_how_many_that_are_nearer_are_drawn():
    assert figures.top1_of(np.array([0, 1, 2]), 3, few=2) == pytest.approx([1, 0.5, 0])
    assert figures.top1_of(np.array([0, 1]), 5) == pytest.approx([1, 0])  # fewer people than a line-up
    drawn = RANDOM.permuted(np.tile(np.arange(29), (4000, 1)), axis=1)[:, :11]
    simulated = (drawn >= 3).all(1).mean()  # three of the 29 others are nearer
    assert figures.top1_of(np.array([3]), 30, few=12)[0] == pytest.approx(simulated, abs=0.03)


def test_an_interval_holds_the_mean_and_narrows_with_rows():
    few, many = (figures.estimate(np.mean, np.resize([0.0, 1.0], n)) for n in (10, 1000))
    assert few["low"] < 0.5 < few["high"]
    assert many["high"] - many["low"] < 0.2 * (few["high"] - few["low"])
    assert figures.estimate(np.mean, np.ones(5)) == {"value": 1, "low": 1, "high": 1, "n": 5}


def test_a_constant_lag_is_found_and_chance_stays_small():
    truth = figures.low_pass(RANDOM.normal(size=(300, 1)))[:, 0]
    late = np.roll(truth, 3)
    assert figures.correlation(late, truth) < 0.5
    assert figures.best_lag_correlation(late, truth) > 0.95
    assert figures.correlation(np.ones(300), truth) == 0


def test_closures_are_looked_for_where_the_phones_are():
    ppg = np.zeros((200, 40))
    ppg[:, 0] = 1
    ppg[50:56, [0, 7]] = 0, 0.5  # B and P together
    ppg[50:56, 27] = 0.5
    ppg[100, [0, 22]] = 0, 1  # too short
    places = figures.phone_frames(ppg)
    assert places == [slice(24, 29)]
    gap = np.full(100, 8.0)
    assert figures.closed_share(gap, places) == 0
    gap[26] = 1
    assert figures.closed_share(gap, places) == 1
    assert np.isnan(figures.closed_share(gap, []))


def test_lip_distance_is_0_for_the_truth_and_1_for_a_face_that_stands_still():
    truth = RANDOM.normal(size=(50, 40, 2))
    still = truth.mean(0)
    assert figures.lip_distance(truth, truth, still) == 0
    assert figures.lip_distance(np.repeat(still[None], 50, 0), truth, still) == pytest.approx(1)


def test_purity_never_looks_at_the_same_person():
    vectors = np.array([[0.0], [0.1], [5.0], [5.1]])
    people = ["a", "a", "b", "b"]
    everyone = np.ones(4, bool)
    assert figures.purity(vectors, ["sad", "happy", "happy", "sad"], people, everyone).tolist() == [0, 1, 1, 0]
    assert len(figures.purity(vectors, ["sad", "angry", "happy", "sad"], people, everyone)) == 2  # shared by both


def test_way_and_cosine_of_a_change():
    truth = np.array([3.0, 4.0])
    assert figures.way(0.5 * truth, truth) == pytest.approx(0.5)
    assert figures.cosine(0.5 * truth, truth) == pytest.approx(1)
    assert figures.way(-truth, truth) == pytest.approx(-1)
    assert figures.way(np.array([4.0, -3.0]), truth) == pytest.approx(0)


def test_the_longest_run():
    assert figures.longest_run(np.array([1, 1, 0, 1, 1, 1, 0], bool)) == 3
    assert figures.longest_run(np.zeros(4, bool)) == 0


def test_measures_follow_the_mesh():
    face = FaceModel.load()
    x = (RANDOM.normal(size=(20, 233)) * face.sd).astype(np.float32)
    mesh = face.decode(face.v_bar, x)
    measures = figures.face_measures(face)
    lids = (mesh[:, [159, 386], 1] - mesh[:, [145, 374], 1]).mean(1) * 100 / face.iod
    assert x @ measures["lids"] == pytest.approx(lids - lids.mean() + (x @ measures["lids"]).mean(), abs=1e-3)
    width = (mesh[:, 291, 0] - mesh[:, 61, 0]) * 100 / face.iod
    assert np.diff(x @ measures["width"]) == pytest.approx(np.diff(width), abs=1e-3)


# --- the outside judge -----------------------------------------------------------------------------------------------


def people(seed, *, spread):
    """Clips of 24 people who differ in level, or in spread."""
    random = np.random.default_rng(seed)
    clips = []
    for k in range(24):
        level, size = random.normal(size=(2, len(COMPONENTS)))
        x = random.normal(size=(160, len(COMPONENTS))) * 0.3
        x = x * np.exp(size) if spread else x + level
        seen = torch.from_numpy(x.astype(np.float32))
        clips.append(JudgeClip(str(k), str(k), seen, seen.flip(1)))
    return clips


def top1(judge, clips):
    with torch.inference_mode():
        first, second = (judge(torch.stack([c.seen[half] for c in clips])) for half in (slice(75), slice(80, 155)))
    return ((first @ second.T).argmax(1) == torch.arange(len(clips))).float().mean().item()


@pytest.mark.parametrize("centred", [False, True])
def test_a_judge_finds_the_other_half_of_people_it_was_not_trained_on(centred):
    settings = JudgeSettings(centred=centred, steps=60, batch=24, width=16)
    judge = train_judge(people(1, spread=centred), settings)
    assert top1(judge, people(2, spread=centred)) > 0.5  # chance .04
    again = train_judge(people(1, spread=centred), settings)
    assert all(torch.equal(a, b) for a, b in zip(judge.parameters(), again.parameters(), strict=True))


def test_the_centred_judge_does_not_see_the_level_and_the_other_does():
    x = (RANDOM.normal(size=(100, 233)) * SD).astype(np.float32)
    moved = x + 0.5
    for centred, same in ((True, True), (False, False)):
        torch.manual_seed(0)
        judge = Judge(JudgeSettings(centred=centred)).eval()
        assert np.allclose(judge.vector(x, SD), judge.vector(moved, SD), atol=1e-4) == same
