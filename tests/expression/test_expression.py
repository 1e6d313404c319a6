"""Properties of the hybrid decoder and of its losses."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.core.errors import VastError
from vast_cli.expression import ExpressionModel, load_expression_model, predict
from vast_cli.expression.autoregressive import FrameSampler
from vast_cli.expression.blinks import CLOSED, Blinks
from vast_cli.expression.hybrid import SHUT, HybridDecoder, StyleUnits
from vast_cli.expression.nonautoregressive import SILENCE, ExpressionConfig, speech_input
from vast_cli.records import Posteriorgram
from vast_cli.store.weights import DECODER, MOMENTS, STYLE_MODEL
from vast_cli.training.losses.expression import asymmetric, moments, one_minus_correlation
from vast_cli.training.style.free_motion import pole_of

CONFIG = ExpressionConfig(d_style=16, n_moments=6, free=3, width=32, blocks=2, heads=4, hidden=24, drawn=12, mixtures=3)
SEED = np.random.default_rng(7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ExpressionModel:
    torch.manual_seed(0)
    decoder = HybridDecoder(CONFIG)
    for name, parameter in decoder.named_parameters():
        if "strong" in name or "film" in name:
            torch.nn.init.normal_(parameter, std=0.2)  # so that speech and style have an effect
    random = torch.Generator().manual_seed(0)
    gap = torch.zeros(85)
    gap[0] = 1
    decoder.set_lips(gap, torch.ones(85), closed=0.0)
    decoder.levels[0, 3], decoder.spreads[1, :85], decoder.levels[2, 120] = 1.0, 0.5, 1.0
    decoder.free.keep.fill_(0.8)
    decoder.free.factor.copy_(0.2 * torch.randn(85, 3, generator=random))
    decoder.free.speechless[0, 0] = 0
    tensors = {DECODER + k: v.numpy() for k, v in decoder.state_dict().items()}
    tensors |= {MOMENTS + "mean": np.full(6, np.log(24.0), np.float32), MOMENTS + "scale": np.ones(6, np.float32)}
    path = tmp_path_factory.mktemp("expression") / "style.safetensors"
    header = {"expression": asdict(CONFIG), "face_model_hash": "face", "acoustic_model_hash": "acoustic"}
    STYLE_MODEL.save(path, tensors, header)
    return load_expression_model(path)


def speech(n_samples: int, *, seed: int = 0) -> Posteriorgram:
    values = np.random.default_rng(seed).dirichlet(np.full(40, 0.1), -(-n_samples // 320)).astype(np.float32)
    return Posteriorgram(values=values, n_samples=n_samples, model_hash="acoustic")


def whole(ppg: Posteriorgram, vector: np.ndarray, model: ExpressionModel, **options: float) -> np.ndarray:
    return np.concatenate([np.zeros((0, 233), np.float32), *predict(ppg, vector, model, **options)])


STYLE = np.concatenate([np.linspace(-1, 1, 16), np.zeros(6)]).astype(np.float32)


def units(model: ExpressionModel, latent: torch.Tensor) -> StyleUnits:
    return model.decoder.units(torch.cat([latent, torch.zeros(len(latent), 6)], 1))


def with_moment(index: int, value: float) -> np.ndarray:
    vector = STYLE.copy()
    vector[16 + index] = value
    return vector


# 96 frames to the next window; up to two more are sampled with the first
@pytest.mark.parametrize("n_samples", [320, 640, 641, 16_000, *(640 * n for n in range(96, 100)), 81_234, 16_000 * 21])
def test_every_length_has_its_number_of_frames(model: ExpressionModel, n_samples: int) -> None:
    ppg = speech(n_samples)
    expression = whole(ppg, STYLE, model)
    assert expression.shape == (ppg.n_frames, 233) and np.isfinite(expression).all()


def test_chunks_joined_equal_the_whole(model: ExpressionModel) -> None:
    ppg = speech(16_000 * 15 + 77)
    reference = whole(ppg, STYLE, model, chunk=100_000)
    for chunk in (1, 7, 96, 128, 250):
        assert np.array_equal(whole(ppg, STYLE, model, chunk=chunk), reference)


def test_memory_holds_a_window_not_the_audio(model: ExpressionModel) -> None:
    parts = predict(speech(16_000 * 60), STYLE, model)
    assert len(next(parts)) == 96  # the first frames are yielded before the rest is predicted


def test_far_speech_does_not_reach_the_lips(model: ExpressionModel) -> None:
    ppg = speech(16_000 * 20)
    changed = ppg.values.copy()
    changed[800:] = speech(16_000 * 20, seed=9).values[800:]
    other = Posteriorgram(values=changed, n_samples=ppg.n_samples, model_hash="acoustic")
    a, b = whole(ppg, STYLE, model), whole(other, STYLE, model)
    assert np.array_equal(a[:250, :85], b[:250, :85]) and not np.allclose(a[405:, :85], b[405:, :85])


def test_window_joints_are_invisible(model: ExpressionModel) -> None:
    steps = np.abs(np.diff(whole(speech(16_000 * 40), STYLE, model)[:, :85], axis=0)).max(1)
    assert steps[95::96].max() < 1.5 * steps.max()  # no step at a joint beyond those of speech


def test_permuting_the_batch_permutes_the_result(model: ExpressionModel) -> None:
    torch.manual_seed(1)
    inputs, vectors, order = torch.rand(3, 20, 200), torch.randn(3, 16), torch.tensor([2, 0, 1])
    with torch.inference_mode():
        strong = model.decoder.strong(inputs, units(model, vectors), torch.ones(3, 20))
        permuted = model.decoder.strong(inputs[order], units(model, vectors[order]), torch.ones(3, 20))
    assert torch.allclose(permuted, strong[order], atol=1e-5)


def test_padding_does_not_change_the_lips(model: ExpressionModel) -> None:
    torch.manual_seed(2)
    inputs, vector = torch.rand(1, 20, 200), torch.randn(1, 16)
    padded = torch.cat([inputs, 9 * torch.rand(1, 12, 200)], 1)
    mask = torch.cat([torch.ones(1, 20), torch.zeros(1, 12)], 1)
    with torch.inference_mode():
        expected = model.decoder.strong(inputs, units(model, vector), torch.ones(1, 20))
        strong = model.decoder.strong(padded, units(model, vector), mask)[:, :20]
    assert torch.allclose(expected, strong, atol=1e-4)


def test_seed_changes_eyes_and_free_motion_but_not_what_lips_articulate(model: ExpressionModel) -> None:
    ppg = speech(16_000 * 4)
    a, b, again = (whole(ppg, STYLE, model, seed=s) for s in (0, 1, 0))
    assert np.array_equal(a, again) and np.array_equal(a[:, 0], b[:, 0])  # component 0 opens these lips
    assert not np.allclose(a[:, 1:85], b[:, 1:85]) and not np.allclose(a[:, 85:], b[:, 85:])
    calm = [whole(ppg, STYLE, model, seed=s, liveliness=0.0) for s in (0, 1)]
    assert np.array_equal(calm[0][:, :85], calm[1][:, :85])


def test_moments_move_level_and_spread(model: ExpressionModel) -> None:
    ppg = speech(16_000 * 8)
    base, raised, wide = (whole(ppg, v, model) for v in (STYLE, with_moment(0, 2.0), with_moment(1, 1.0)))
    # component 3 does not open these lips, so holding them closed takes nothing of it back
    assert np.allclose((raised - base)[:, 3], 2.0, atol=1e-4)
    assert np.allclose(wide[:, 5].std() / base[:, 5].std(), np.exp(0.5), rtol=0.02)


def test_closed_lips_are_closed_in_every_style(model: ExpressionModel) -> None:
    with torch.inference_mode():
        model.decoder.nar.close.bias.fill_(20.0)
        inputs, styles = torch.rand(3, 20, 200), torch.randn(3, 22)
        strong = model.decoder.strong(inputs, model.decoder.units(styles), torch.ones(3, 20))
        model.decoder.nar.close.bias.fill_(-3.0)
    assert torch.allclose(strong @ model.decoder.gap, torch.zeros(3, 20), atol=1e-4)


def test_free_motion_has_the_spread_and_the_pace_that_were_measured(model: ExpressionModel) -> None:
    free = model.decoder.free
    noise = np.random.default_rng(0).standard_normal((40_000, 3)).astype(np.float32)
    motion, state = free.sample(noise, free.start())
    assert np.allclose(motion.std(0), np.linalg.norm(free.factor.numpy(), axis=1), rtol=0.1)
    parts, state = [], free.start()
    for part in np.split(noise[:300], 3):
        moved, state = free.sample(part, state)
        parts.append(moved)
    assert np.array_equal(np.concatenate(parts), motion[:300])
    lagged = float(np.corrcoef(motion[5:, 0], motion[:-5, 0])[0, 1])
    assert abs(float(pole_of(np.array([lagged]))[0]) - 0.8) < 0.03


def test_sampling_frame_by_frame_equals_the_trained_network(model: ExpressionModel) -> None:
    decoder, random = model.decoder.ar, np.random.default_rng(3)
    code, ppg = torch.randn(1, 16), torch.rand(40, 40)
    choices, noise = random.random(40), torch.from_numpy(random.standard_normal((40, 12), dtype=np.float32))
    with torch.inference_mode():
        past, state, expected = decoder.begin(code), None, []
        for t in range(40):
            ahead, state = decoder(past[:, None], ppg[None, t : t + 1], code, state)
            ahead = type(ahead)(*(part[:, 0] for part in ahead))
            past = ahead.sample(torch.tensor(choices[t : t + 1], dtype=torch.float32), noise[t : t + 1])
            expected.append(past)
        sampler = FrameSampler(decoder, code[0])
        values, _ = sampler.run(ppg, sampler.start(), choices=choices.tolist(), noise=noise)
        first, middle = sampler.run(ppg[:15], sampler.start(), choices=choices[:15].tolist(), noise=noise[:15])
        rest, _ = sampler.run(ppg[15:], middle, choices=choices[15:].tolist(), noise=noise[15:])
    assert torch.allclose(values, torch.cat(expected), atol=1e-4)
    assert torch.allclose(torch.cat([first, rest]), values, atol=1e-5)


def test_lids_close_and_do_not_cross(model: ExpressionModel) -> None:
    decoder = model.decoder
    lids = torch.zeros(148)
    lids[4] = 0.5
    decoder.set_lids(lids, torch.ones(148))
    still = units(model, torch.zeros(1, 16))
    weak = torch.zeros(1, 3, 148)
    weak[0, :, 4] = torch.tensor([0.0, -1.0, -9.0])
    opening = decoder.denormalise_weak(weak, still)[0] @ lids
    decoder.lids.zero_()
    decoder.closing_lids.zero_()
    assert torch.allclose(opening, torch.tensor([0.0, -0.5, SHUT]), atol=1e-5)


@pytest.mark.parametrize("rate", [10.0, 25.0, 50.0])
def test_still_eyes_blink_at_the_rate_of_the_style(rate: float) -> None:
    lids = np.zeros(148, np.float32)
    lids[3] = 0.5
    opening = np.zeros(148, np.float32)
    opening[3] = 2.0

    def run(parts: int) -> np.ndarray:
        blinks = Blinks(lids, opening, rest=0.0, rate=rate, random=np.random.default_rng(5))
        still = np.zeros((15_000, 148), np.float32)
        return np.concatenate([blinks.add(part) for part in np.array_split(still, parts)])

    moved = run(1)
    heights = moved @ lids
    shut = heights < -0.35
    count = int((shut[1:] & ~shut[:-1]).sum())
    assert rate / 1.5 < count / 10 < 1.1 * rate  # 10 minutes; never more than asked for
    assert np.isclose(heights.min(), CLOSED, atol=1e-4) and not moved[:, :3].any()
    assert np.array_equal(run(7), moved)


def test_eyes_that_blink_enough_are_left_alone() -> None:
    lids = np.zeros(148, np.float32)
    lids[3] = 1.0
    weak = np.zeros((3000, 148), np.float32)
    weak[::25, 3] = -0.8  # once a second
    blinks = Blinks(lids, lids, rest=0.0, rate=10.0, random=np.random.default_rng(0))
    assert np.array_equal(blinks.add(weak), weak)


def test_style_changes_the_face(model: ExpressionModel) -> None:
    ppg = speech(16_000 * 2)
    assert not np.allclose(whole(ppg, STYLE, model)[:, :85], whole(ppg, -STYLE, model)[:, :85], atol=1e-3)


def test_eyes_neither_stop_nor_diverge_within_a_minute(model: ExpressionModel) -> None:
    weak = whole(speech(16_000 * 60), STYLE, model)[:, 85:]
    assert weak[-200:].std(0).max() > 1e-3 and np.abs(weak).max() < 100


def test_sampled_motion_is_smoothed_over_the_joints_of_windows_and_up_to_the_ends(model: ExpressionModel) -> None:
    steps = np.abs(np.diff(whole(speech(16_000 * 40), STYLE, model)[:, 85:], axis=0)).mean(1)
    assert steps[95::96].mean() < 1.5 * steps.mean() and steps[0] < 3 * steps.mean() and steps[-1] < 3 * steps.mean()


def test_speech_of_another_model_is_refused(model: ExpressionModel) -> None:
    ppg = Posteriorgram(values=speech(3200).values, n_samples=3200, model_hash="other")
    with pytest.raises(VastError) as caught:
        next(predict(ppg, STYLE, model))
    assert caught.value.code == "vast_model_mismatch"
    with pytest.raises(VastError):
        next(predict(speech(3200), STYLE[:4], model))


def test_speech_input_is_centred_on_the_video_frame() -> None:
    values = np.zeros((50, 40), np.float32)
    values[:, 1] = 1
    values[2 * 7 - 1] = 0
    values[2 * 7 - 1, 5] = 1  # the frame whose centre is instant 7 / 25 s
    stacked = speech_input(values, 0, 25).reshape(25, 5, 40)
    assert stacked[7, 2, 5] == 1 and stacked[6, 4, 5] == 1 and stacked[8, 0, 5] == 1 and stacked[:, :, 5].sum() == 3
    assert (stacked[0, :3, SILENCE] == 1).all()  # silence before the audio begins


def test_losses_are_zero_for_the_truth() -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 30)
    assert asymmetric(x, x, x.mean(1, keepdim=True)).abs().max() == 0
    assert one_minus_correlation(x, x, torch.ones(2, 30), least=0.1) < 1e-4
    many = torch.randn(2, 30, 5)
    assert moments(many, many, torch.ones(2, 30), torch.ones(2, 30), scale=torch.tensor(1.0)).abs().max() == 0


@pytest.mark.parametrize("truth", [2.0, -2.0])
def test_undershooting_costs_more_than_overshooting(truth: float) -> None:
    value, centre = torch.tensor(truth), torch.tensor(0.0)
    under, over = asymmetric(value * 0.5, value, centre), asymmetric(value * 1.5, value, centre)
    assert under > over > 0


def test_mean_movement_costs_most() -> None:
    t = torch.linspace(0, 20, 200)
    truth = torch.sin(t)
    costs = [asymmetric(k * truth, truth, torch.tensor(0.0)).mean() for k in (0.0, 0.5, 1.0)]
    assert costs[0] > costs[1] > costs[2]


def test_losses_ignore_padding() -> None:
    torch.manual_seed(4)
    x, y = torch.randn(1, 40), torch.randn(1, 40)
    mask = torch.ones(1, 40)
    mask[:, 25:] = 0
    wild = torch.cat([x[:, :25], 99 * torch.ones(1, 15)], 1)
    assert torch.allclose(one_minus_correlation(x, y, mask, least=0.1), one_minus_correlation(wild, y, mask, least=0.1))


def test_a_file_without_the_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    STYLE_MODEL.save(path, {"x": np.zeros(3, np.float32)}, {})
    with pytest.raises(VastError) as caught:
        load_expression_model(path)
    assert caught.value.code == "vast_record_invalid"
