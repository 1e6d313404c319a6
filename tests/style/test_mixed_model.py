"""The mixed model finds what labels do, apart from what people are like, and says how sure that is."""

import numpy as np
import pytest

from vast_cli.core.arrays import Float64
from vast_cli.training.style.mixed_model import Design, chance_of_ranks, label_effects

D = 6
KINDS = {"calm": "mood", "glad": "mood", "cross": "mood", "talk": "genre", "news": "genre"}


def population(effects: dict[str, Float64], *, per_label: int, seed: int = 0) -> tuple[Float64, Design]:
    """Vectors of people of whom each shows one label and the first of each label shows all."""
    random = np.random.default_rng(seed)
    people, labels, vectors = [], [], []
    for label in effects:
        for k in range(per_label):
            face = random.standard_normal(D)
            for shown in effects if k == 0 else (label,):
                people.append(f"{label}{k}")
                labels.append(shown)
                vectors.append(10 + effects[shown] + face + 0.3 * random.standard_normal(D))
    return np.stack(vectors), Design(people, labels, KINDS)


def axis(k: int, size: float) -> Float64:
    return size * np.eye(D)[k]


EFFECTS = {"calm": axis(0, 4), "glad": axis(1, 4), "cross": axis(2, -4), "talk": axis(3, 3), "news": axis(3, -3)}


def test_effects_are_found_though_people_differ() -> None:
    vectors, design = population(EFFECTS, per_label=12)
    found = label_effects(vectors, design)
    assert design.names == sorted(EFFECTS) == sorted(found.vectors)
    for label, effect in EFFECTS.items():
        others = np.mean([found.vectors[name] for name in EFFECTS], axis=0)
        truth = effect - np.mean(list(EFFECTS.values()), axis=0)
        assert np.linalg.norm(found.vectors[label] - others - truth) < 0.35 * np.linalg.norm(truth)
        assert 0.7 < found.follow[label] < 1.4  # the size is that of people who were left out
    assert (found.rank == 0).mean() > 0.9 and found.n_labels == 5


def test_labels_that_mean_nothing_do_little_and_are_not_recognised() -> None:
    vectors, design = population(dict.fromkeys(EFFECTS, np.zeros(D)), per_label=12)
    found = label_effects(vectors, design)
    for label in EFFECTS:
        assert np.linalg.norm(found.vectors[label] - vectors.mean(0)) < 0.2 * np.sqrt(D)  # of what people differ by
    assert (found.rank == 0).mean() < 0.4 and found.rank.mean() > 1.5


def test_few_people_count_less_than_many() -> None:
    vectors, design = population(EFFECTS, per_label=12)
    rows = [k for k, label in enumerate(design.labels) if label != "glad" or design.people[k] in ("glad0", "glad1")]
    few = label_effects(
        vectors[rows], Design([design.people[k] for k in rows], [design.labels[k] for k in rows], KINDS)
    )
    many = label_effects(vectors, design)

    def along(found: dict[str, Float64]) -> float:
        return float(found["glad"][1] - found["calm"][1])

    assert 0 < along(few.vectors) < along(many.vectors)


def test_a_label_that_one_person_shows_is_not_tested() -> None:
    vectors, design = population(EFFECTS, per_label=3)
    labels = [
        "own" if label == "news" and person == "news2" else label
        for person, label in zip(design.people, design.labels, strict=True)
    ]
    found = label_effects(vectors, Design(design.people, labels, KINDS | {"own": "mood"}))
    assert found.rank[labels.index("own")] == -1 and found.n_labels == 5
    assert np.isnan(found.follow["own"])


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_units_do_not_matter(unit: float) -> None:
    vectors, design = population(EFFECTS, per_label=6)
    scale = np.array([1, unit, 1, 1, unit, 1])
    one, other = label_effects(vectors, design), label_effects(vectors * scale, design)
    for label in EFFECTS:
        assert np.allclose(one.vectors[label], other.vectors[label] / scale, rtol=1e-4, atol=1e-4)
    assert np.array_equal(one.rank, other.rank)


@pytest.mark.parametrize(
    ("ranks", "chance"),
    [([0, 0, 0], 1 / 1000), ([0, 1, 1], 10 / 1000), ([9, 9, 9], 1.0), ([0], 1 / 10), ([4, 5, 4], 0.5), ([], 1.0)],
)
def test_the_chance_of_ranks_is_that_of_as_small_a_sum(ranks: list[int], chance: float) -> None:
    assert chance_of_ranks(np.array(ranks, np.int64), 10) == pytest.approx(chance)
