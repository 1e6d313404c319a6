"""Variants of the style model, and what its training measures of clips."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.core.errors import VastError
from vast_cli.expression import load_expression_model, predict
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import FaceModel
from vast_cli.records import N_STRONG, Posteriorgram
from vast_cli.style.encoder import StyleConfig
from vast_cli.style.moments import LEVEL, N_MOMENTS, SPREAD
from vast_cli.training.style.corpus import StyleClip
from vast_cli.training.style.free_motion import complete_free_motion, fit_free_motion
from vast_cli.training.style.moments import fit_moment_space, moment_maps
from vast_cli.training.style.networks import StyleNetworks
from vast_cli.training.style.train import StyleTrainingSettings, prepare, save_style_and_expression
from vast_cli.training.style.variants import VARIANTS, samples_style, with_variant

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
SMALL = StyleTrainingSettings(
    batch=2,
    style=StyleConfig(width=16, hidden=24, d_style=8, n_reflections=2),
    expression=ExpressionConfig(d_style=8, free=3, width=32, blocks=1, heads=4, hidden=16, drawn=8, mixtures=2),
)


@pytest.fixture(scope="module")
def face() -> FaceModel:
    if not (WEIGHTS / "face_model.safetensors").exists():
        pytest.skip("weights/face_model.safetensors is not here")
    return FaceModel.load(WEIGHTS / "face_model.safetensors")


def clips(face: FaceModel, *, persons: int = 6, each: int = 3, n: int = 160) -> list[StyleClip]:
    """Persons differ in component 0, their clips in component 1, which is style; component 2 moves more or less."""
    made = []
    for person in range(persons):
        for k in range(each):
            random = np.random.default_rng(100 * person + k)
            expression = 0.2 * random.standard_normal((n, 233)).astype(np.float32) * face.sd
            expression[:, 0] += 2.0 * (person - persons / 2)
            expression[:, 1] += 1.5 * (k - each / 2)
            expression[:, 2] *= 1 + 4 * k
            values = random.dirichlet(np.full(40, 0.1), 2 * n).astype(np.float32)
            made.append(
                StyleClip(
                    path=f"talk/{person}_{k}.mp4",
                    set="talk",
                    group=("talk", str(person), str(k)),
                    expression=expression,
                    weight=np.ones(n, np.float32),
                    identity=face.v_bar,
                    ppgs=[values],
                    in_sync=True,
                )
            )
    return made


def networks(face: FaceModel, settings: StyleTrainingSettings, made: list[StyleClip]) -> StyleNetworks:
    space = fit_moment_space(made, face, person=settings.person)
    for clip in made:
        clip.remove_person(space)
    return prepare(made, face, settings, space, assets_folder=WEIGHTS)[0]


def test_what_differs_within_persons_is_style_and_what_differs_between_them_is_not(face: FaceModel) -> None:
    space = fit_moment_space(clips(face), face, person=1.0)
    assert space.style[1, 1] > 20 * space.style[0, 0] and space.between[0, 0] > 5 * space.between[1, 1]
    smiling = clips(face, persons=7, each=3)[-1]  # a person who was not measured
    q, sd, _ = space.split(space.measure(smiling.expression, smiling.weight > 0))
    level = q[LEVEL] * space.scale[LEVEL] + space.mean[LEVEL]
    tracked = smiling.expression.mean(0)
    assert abs(level[1] - tracked[1]) < 0.25 * abs(tracked[1] - space.mean[1])  # the smile is transferred
    assert abs(level[0] - space.mean[0]) < 0.25 * abs(tracked[0] - space.mean[0])  # the jaw is not
    assert q[SPREAD][2] > 0.5 and np.isfinite(sd).all()


def test_a_unit_of_a_moment_moves_its_components(face: FaceModel) -> None:
    space = fit_moment_space(clips(face), face, person=0.0)
    levels, spreads = moment_maps(space, 233)
    assert np.count_nonzero(levels[SPREAD]) == 0 and np.count_nonzero(spreads[LEVEL]) == 0
    assert levels[1, 1] == space.scale[1] and np.allclose(spreads[SPREAD.start + 2, 2], space.scale[SPREAD.start + 2])
    assert (np.abs(spreads[SPREAD]).sum(0) > 0).all()  # every component has a spread


def test_free_motion_fills_what_is_missing_and_leaves_articulation_alone(face: FaceModel) -> None:
    made = clips(face)
    net = networks(face, SMALL, made)
    fit_free_motion(net, made)
    before = net.decoder.free.factor.clone()
    complete_free_motion(net, made)  # an untrained D^nar hardly moves, so nearly all is missing
    after = net.decoder.free.factor
    moved = before.square().sum(1) > 1e-6
    assert (after.square().sum(1)[moved] >= before.square().sum(1)[moved]).all()
    noise = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    motion, _ = net.decoder.free.sample(noise, net.decoder.free.start())
    articulated = net.decoder.free.without_articulation(motion * face.sd[:N_STRONG])
    assert motion.std() > 0.01 and np.abs(articulated @ net.get_buffer("gap_basis").numpy()).max() < 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_and_predicts(name: str, face: FaceModel, tmp_path: Path) -> None:
    settings, made = with_variant(SMALL, name), clips(face, persons=2, each=2, n=120)
    space = fit_moment_space(made, face, person=settings.person)
    for clip in made:
        clip.remove_person(space)
    net, batches = prepare(made, face, settings, space, assets_folder=WEIGHTS)
    torch.manual_seed(0)
    net.train()
    loss = net.loss(batches.draw(0), kl_share=1.0, weights=settings.weights)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    header = {
        "style": dataclasses.asdict(settings.style),
        "expression": dataclasses.asdict(settings.expression),
        "face_model_hash": face.hash,
        "acoustic_model_hash": "acoustic",
        "person": settings.person,
    }
    save_style_and_expression(net.eval(), tmp_path / "style.safetensors", header=header)
    model = load_expression_model(tmp_path / "style.safetensors")
    ppg = Posteriorgram(values=made[0].ppgs[0], n_samples=640 * 120, model_hash="acoustic")
    plain, moved = np.zeros(8 + N_MOMENTS, np.float32), np.ones(8 + N_MOMENTS, np.float32)
    a, b = (np.concatenate(list(predict(ppg, vector, model))) for vector in (plain, moved))
    assert a.shape == (120, 233) and np.isfinite(a).all()
    assert np.array_equal(a, b) == (name in ("no-style", "no-ar", "nvp"))  # nothing of the prompt reaches these


def test_variants_of_the_paper_lack_what_the_one_before_lacks() -> None:
    chain = [with_variant(SMALL, name) for name in ("vast", "no-flow", "no-enhancer", "no-style", "no-ar")]
    assert [s.style.n_reflections > 0 for s in chain] == [True, False, False, False, False]
    assert [s.weights.kl > 0 for s in chain] == [True, True, False, False, False]
    assert [s.expression.uses_latent for s in chain] == [True, True, True, False, False]
    assert [s.expression.autoregressive for s in chain] == [True, True, True, True, False]
    assert [samples_style(s.variant) for s in chain] == [True, True, False, False, False]


def test_an_unknown_variant_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(VastError) as caught:
        with_variant(SMALL, "no-flows")
    assert caught.value.code == "vast_option_invalid" and "no-flow" in str(caught.value.hint)
