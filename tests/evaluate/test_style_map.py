"""The style map: groups are never split, chance is chance, the baselines are there, and text fits."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vast_cli import records, style
from vast_cli.cli import app
from vast_cli.core.errors import VastError
from vast_cli.evaluate import drawing
from vast_cli.evaluate.styles import codes, mapping, plot, separation
from vast_cli.evaluate.styles.labels import LabelTable, list_clips
from vast_cli.evaluate.styles.mapping import MapSettings
from vast_cli.evaluate.styles.separation import LabelledPoints
from vast_cli.evaluate.styles.style_map import StyleMap
from vast_cli.pipeline.models import Models
from vast_cli.records import FaceTrack

pytest.importorskip("sklearn")
threadpoolctl = pytest.importorskip("threadpoolctl")
MOODS = ("glad", "sad")
PERSONS = ("ann", "bob", "cyd")


def clusters(spread: float, *, n: int = 24, d: int = 16, k: int = 4) -> LabelledPoints:
    random = np.random.default_rng(3)
    label = np.arange(n) % k
    values = random.normal(size=(n, d)) + spread * np.eye(k, d)[label]
    return LabelledPoints(values, label, np.arange(n))


def track_of(models: Models, *, offset: float, seed: int, n: int = 60) -> FaceTrack:
    random = np.random.default_rng(seed)
    expression = random.normal(size=(n, records.N_EXPRESSION)).astype(np.float32) * 0.3
    expression[:, 0] += offset
    expression /= models.style_model.encoder.scale.numpy()  # from units of E^p's input
    return FaceTrack(
        valid=np.ones(n, bool),
        score=np.ones(n, np.float32),
        segment=np.zeros(n, np.int16),
        expression=expression,
        rotation=np.zeros((n, 3), np.float32),
        scale=np.ones(n, np.float32),
        translation=np.zeros((n, 3), np.float32),
        identity=np.zeros((records.N_VERTICES, 3), np.float32),
        height=256,
        width=256,
        source="synthetic",
        model_hash=models.face_model.hash,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Points are few here: t-SNE of twelve takes 0.3 s on one thread, and 2 s on two of a busy machine."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Path:
    """Twelve tracks of three persons in two moods that differ in one component, and their table."""
    folder = tmp_path_factory.mktemp("moods")
    rows = ["clip,emotion,person"]
    for k in range(12):
        mood, person = MOODS[k % 2], PERSONS[k // 2 % 3]
        track = track_of(models, offset=1.5 if mood == "glad" else -1.5, seed=k)
        track.save(folder / f"{mood}_{k}.track")
        rows.append(f"somewhere/{mood}_{k}.mp4,{mood},{person}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def style_map(corpus: Path, models: Models) -> StyleMap:
    return mapping.map_styles([corpus], corpus / "labels.csv", MapSettings(permutations=100), models=models)


def test_silhouette_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    points = clusters(2.0)
    ours = separation.silhouette(points, permutations=9).value
    assert ours == pytest.approx(silhouette_score(points.values, points.label, metric="cosine"), abs=1e-12)
    alone = LabelledPoints(points.values, np.r_[4, points.label[1:]], points.unit)  # one label with one point
    ours = separation.silhouette(alone, permutations=9).value
    assert ours == pytest.approx(silhouette_score(alone.values, alone.label, metric="cosine"), abs=1e-12)


def test_probe_is_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    points = clusters(1.0, n=40)
    random = np.random.default_rng(0)
    n_same = 0
    for out in range(40):
        label = random.permutation(points.label) if out % 2 else points.label
        rest = np.arange(40) != out
        normalised = (points.values - points.values[rest].mean(0)) / points.values[rest].std(0)
        reference = (
            LogisticRegression(max_iter=2000, tol=1e-8)
            .fit(normalised[rest], label[rest])
            .predict(normalised[out : out + 1])
        )
        ours = separation.predict(points.values[rest], label[None, rest], points.values[out : out + 1])
        n_same += int(ours[0, 0] == reference[0])
    assert n_same >= 39  # a tie may fall either way


def test_figures_separate_labels_from_noise() -> None:
    for figure in (
        lambda p: separation.silhouette(p, permutations=200),
        lambda p: separation.nearest_neighbour(p, p.unit, permutations=200),
        lambda p: separation.linear_probe(p, p.unit, permutations=200),
    ):
        apart, noise = figure(clusters(5.0)), figure(clusters(0.0))
        assert apart.value is not None and apart.p is not None and noise.p is not None
        assert apart.p < 0.01 and noise.p > 0.05
        assert apart.value > 0.5 and apart.chance < 0.35


def test_windows_of_one_video_stay_on_one_side() -> None:
    """Labels are arbitrary here, but windows of a clip are alike: only a split that mixes them can know the label."""
    random = np.random.default_rng(0)
    unit = np.repeat(np.arange(16), 5)
    values = 5 * random.normal(size=(16, 12))[unit] + 0.1 * random.normal(size=(80, 12))
    points = LabelledPoints(values, (np.arange(16) % 2)[unit], unit)
    for figure in (separation.nearest_neighbour, separation.linear_probe):
        mixed = figure(points, np.arange(80), permutations=20)
        apart = figure(points, unit, permutations=200)
        assert mixed.value == pytest.approx(1)
        assert apart.value is not None and apart.value < 0.85 and apart.chance is not None and apart.chance < 0.6
        assert apart.n == 16


def test_windows_weigh_as_one_clip() -> None:
    points = LabelledPoints(np.eye(3), np.array([0, 0, 1]), np.array([0, 0, 1]))
    assert points.weight.tolist() == [0.25, 0.25, 0.5]
    labels = points.labellings(50, seed=0)
    assert (labels[:, 0] == labels[:, 1]).all() and (labels[0] == points.label).all()


def test_too_few_clips_give_no_figure() -> None:
    points = LabelledPoints(np.eye(3), np.array([0, 1, 2]), np.arange(3))  # every label once
    figure = separation.silhouette(points)
    assert (figure.value, figure.p, figure.reason, figure.n) == (None, None, "too_few_clips", 3)
    one_person = clusters(1.0)
    assert separation.nearest_neighbour(one_person, np.zeros(24, np.int64)).reason == "too_few_clips"


def test_windows_cover_a_clip_and_none_is_shorter() -> None:
    assert codes.windows(60, None) == [(0, 60)]
    assert codes.windows(60, 1.0) == [(0, 30), (30, 60)]
    assert codes.windows(10, 1.0) == [(0, 10)]
    parts = codes.windows(257, 2.0)
    assert parts[0][0] == 0 and parts[-1][1] == 257 and min(b - a for a, b in parts) >= 50


def test_untrained_encoder_keeps_the_scale_and_nothing_else(models: Models) -> None:
    model = models.style_model
    one, again, other = (codes.untrained_model(model, seed=s) for s in (0, 0, 1))
    assert (one.encoder.scale == model.encoder.scale).all()
    assert (one.encoder.posterior.weight == again.encoder.posterior.weight).all()
    assert not (one.encoder.posterior.weight == other.encoder.posterior.weight).any()
    assert not (one.encoder.posterior.weight == model.encoder.posterior.weight).any()


def test_map_of_two_moods(style_map: StyleMap) -> None:
    document = style_map.document()
    assert document["n_clips"] == 12 and document["n_speakers"] == 3 and document["labels"] == {"glad": 6, "sad": 6}
    assert document["speech"] == "unknown" and document["warnings"] == []
    assert document["tsne"]["perplexity"] == pytest.approx(11 / 3)
    kls = [run["kl"] for run in document["tsne"]["runs"]]
    assert len(kls) == 3 and kls == sorted(kls)
    for name in ("enhanced", "encoder", "mean_sd"):
        row = document["embeddings"][name]
        assert row["nearest_neighbour"]["value"] > 0.9 and row["nearest_neighbour"]["p"] < 0.05
        assert row["linear_probe_person"]["n"] == 12
    json.dumps(document, allow_nan=False)


def test_style_files_have_no_baseline_from_expressions(corpus: Path, models: Models, tmp_path: Path) -> None:
    for path in corpus.glob("*.track"):
        encoded = style.encode_style(records.load(FaceTrack, path), models.style_model)
        encoded.save(tmp_path / f"{path.stem}.style")
    document = mapping.map_styles(
        [tmp_path], corpus / "labels.csv", MapSettings(permutations=20), models=models
    ).document()
    assert document["embeddings"]["enhanced"]["silhouette"]["value"] > 0
    for name in ("untrained", "mean_sd"):
        assert {(row["value"], row["reason"]) for row in document["embeddings"][name].values()} == {(None, "no_track")}


def test_labels_find_clips_by_path_and_by_stem(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "\ufeffpath,emotion,speaker\na/x.mp4,glad,ann\nb/x.mp4,sad,bob\na/y.mp4,calm,ann\n,,\nz.mp4,,\n", "utf-8"
    )
    labels = LabelTable(table)
    rows = {name: labels.find(Path(name)) for name in ("/far/a/x.mp4", "b/x.track", "cache/a__y.track", "y.style")}
    assert [row.label if row else None for row in rows.values()] == ["glad", "sad", "calm", "calm"]
    assert labels.find(Path("x.mp4")) is None  # two clips have that name
    assert labels.find(Path("z.mp4")) is None and labels.find(Path("unknown.mp4")) is None
    table.write_text("é.日本.mp4,glad\n", "utf-8")  # no header
    row = LabelTable(table).find(Path("é.日本.mp4"))
    assert row is not None and row.label == "glad"


@pytest.mark.parametrize("text", ["", "only\n", "path,seconds\na,1\n", "path,label\na,x\na,y\n", "path,label\n,x\n"])
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text, "utf-8")
    with pytest.raises(VastError) as caught:
        LabelTable(table)
    assert caught.value.code == "vast_manifest_invalid"


def test_each_clip_of_a_folder_is_listed_once(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.track", "a.style", "b.mp4", "notes.txt", ".c.mp4"):
        (tmp_path / name).touch()
    assert [path.name for path in list_clips([tmp_path])] == ["a.track", "b.mp4"]


def test_command_plots_the_map(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.COMMANDS, "styles", "vast_cli.cli.styles:app")
    monkeypatch.setattr(mapping, "MapSettings", partial(MapSettings, permutations=50))  # 1,000 take 15 s
    vast = app.build(["styles", "doctor"])
    out = tmp_path / "map.png"
    arguments = ["styles", "map", str(corpus), "--labels", str(corpus / "labels.csv"), "-o", str(out), "--json"]
    result = CliRunner().invoke(vast, [*arguments, "--window", "1"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["n_codes"] == 24 and document["n_sources"] == 12 and document["picture"] == str(out)
    assert out.read_bytes()[:4] == b"\x89PNG"
    result = CliRunner().invoke(vast, arguments)
    assert result.exit_code == 73 and json.loads(result.stdout)["error"]["code"] == "vast_output_exists"


def test_without_scikit_learn_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(VastError) as caught:
        mapping.check_installed()
    assert "vast-avatar[evaluate]" in caught.value.hint


def test_many_labels_fit_on_the_plot(style_map: StyleMap) -> None:
    items = [
        codes.StyleCode(i.path, f"a rather long name of a mood {k} 日本", i.speaker, i.source, 0.0, i.vectors)
        for k, i in enumerate(style_map.codes.items)
    ]
    with_warning = codes.StyleCodes(items, "unknown", ["a warning"])
    image = plot.plot_style_map(replace(style_map, codes=with_warning, perplexity=3.0))
    assert image.shape[1] == plot.WIDTH and (image[:, -5:] == 255).all()


def test_marks_differ_in_colour_and_shape() -> None:
    marks = drawing.marks(72)
    assert len({(mark.colour, mark.corners) for mark in marks}) == 72
    assert all(a.colour != b.colour and a.corners != b.corners for a, b in pairwise(marks))


def test_text_is_drawn_at_its_position_and_shortened_to_fit() -> None:
    image = drawing.blank_image(40, 400)
    drawing.draw_text(image, "Zoë é 日本", (200, 20), 18, anchor="m")
    ink = np.argwhere((image < 128).any(-1))
    assert len(ink) > 50 and abs(ink[:, 1].mean() - 200) < 20 and abs(ink[:, 0].mean() - 20) < 5
    short = drawing.shorten("a_long_name_of_a_clip_that_goes_on_and_on_v3", 200, 18)
    assert "…" in short and short.endswith("v3") and drawing.text_width(short, 18) <= 200
    assert drawing.shorten("short", 200, 18) == "short"
    drawing.draw_text(image, "outside", (-500, 20), 18)  # draws nothing and does not fail
