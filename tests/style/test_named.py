"""Named styles: made of several people of split `train` each, with true cards; what cannot be told is left out."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vast_cli import records
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel
from vast_cli.records import FaceTrack, Style
from vast_cli.store import style_cards
from vast_cli.style import load_style_model
from vast_cli.training.style import named, samples

COLUMNS = (
    "path,set,speaker,sex,language,manner,emotion,seconds,frames,audio,split,sync_lag,sync_r,sync_ok,source_repo,"
    "source_path,licence,sha256"
).split(",")
N_FRAMES = 60
# label -> columns, and the component that it moves
SHOWN = {"neutral": ("acted", "neutral", 2), "happy": ("acted", "happy", 0), "news": ("news", "", 1)}


@dataclasses.dataclass
class Corpus:
    """An index with tracks and without any video."""

    folder: Path
    face: FaceModel
    rows: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def add(
        self, speaker: str, genre: str, emotion: str = "", *, component: int | None = None, split: str = "train"
    ) -> None:
        """A clip without audio of somebody whose face moves, with one component raised."""
        number = len(self.rows)
        random = np.random.default_rng(number)
        person = np.random.default_rng(list(speaker.encode())).standard_normal(233)
        time = np.cumsum(random.standard_normal((N_FRAMES, 233)), axis=0) / np.sqrt(N_FRAMES)
        expression = self.face.sd * (0.3 * person + 0.5 * time)
        if component is not None:
            expression[:, component] += 4 * self.face.sd[component]
        name = f"{'mead' if emotion else 'talk'}/clip{number}.mp4"
        row = dict.fromkeys(COLUMNS, "") | {
            "path": name, "set": name.split("/")[0], "speaker": speaker, "manner": genre, "emotion": emotion,
            "seconds": "2.4", "frames": str(N_FRAMES), "audio": "0", "split": split, "licence": f"licence {genre}",
        }  # fmt: skip
        self.rows.append(row)
        track = FaceTrack(
            valid=np.ones(N_FRAMES, bool), score=np.ones(N_FRAMES, np.float32),
            segment=np.zeros(N_FRAMES, np.int16), expression=expression.astype(np.float32),
            rotation=np.zeros((N_FRAMES, 3), np.float32), scale=np.ones(N_FRAMES, np.float32),
            translation=np.zeros((N_FRAMES, 3), np.float32), identity=self.face.v_bar, height=256, width=256,
            source=name, model_hash=self.face.hash,
        )  # fmt: skip
        path = self.folder / "work" / "tracks" / f"{name.removesuffix('.mp4').replace('/', '__')}.track"
        path.parent.mkdir(parents=True, exist_ok=True)
        track.save(path)

    def write(self) -> None:
        """The index."""
        with (self.folder / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Five people of each of three labels, one of a fourth, and clips that may not be used."""
    made = Corpus(tmp_path_factory.mktemp("corpus"), FaceModel.load())
    for label, (genre, emotion, component) in SHOWN.items():
        for k in range(5):
            for _ in range(2):
                made.add(f"{label}{k}", genre, emotion, component=component)
    made.add("afraid", "acted", "fear", component=3)
    made.add("stranger", "news", split="val", component=4)
    made.add("face", "expressions", "happy", component=4)  # nobody speaks
    made.add("actor", "acting")  # shows no label
    made.write()
    for row in made.rows:
        if row["split"] == "val":
            (made.folder / "work" / "tracks" / f"talk__{Path(row['path']).stem}.track").write_bytes(b"may not be read")
    return made


@pytest.fixture(scope="module")
def output(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an earlier run left a style that is not made any more."""
    folder = tmp_path_factory.mktemp("presets") / "styles"
    folder.mkdir()
    (folder / "fearful.style").write_bytes(b"of an earlier run")
    named.main(["--corpus", str(corpus.folder), "--work", str(corpus.folder / "work"), "--output", str(folder)])
    return folder


def test_labels_that_several_people_show_become_styles(output: Path) -> None:
    assert {path.stem for path in output.glob("*.style")} == set(SHOWN)
    assert set(style_cards.read_cards(output)) == set(SHOWN)


def test_cards_say_what_a_style_was_made_from(output: Path) -> None:
    for label, (genre, emotion, _) in SHOWN.items():
        style = style_cards.load_named(output / f"{label}.style")
        assert style.problem is None and style.card is not None
        card = style.card
        assert (card.people, card.clips, card.seconds) == (5, 10, 24.0)
        assert card.sets == {"mead" if emotion else "talk": 10} and card.licences == {f"licence {genre}": 10}
        assert 3 <= card.recognised <= 5 and card.chance == pytest.approx(1 / 3, abs=1e-4)


def test_the_page_of_the_folder_is_made_from_the_cards(output: Path) -> None:
    page = (output / "README.md").read_text(encoding="utf-8")
    assert page == named.readme(style_cards.read_cards(output))
    assert "| `happy` | joy" in page and "10 clips: licence news" in page and "fearful" not in page


def test_a_style_is_nobodys_own(corpus: Corpus, output: Path) -> None:
    """It is nearer to the mean of its people than the nearest of them, and none of them."""
    model = load_style_model()
    everybody = samples.encode_samples(corpus.folder, corpus.folder / "work", model)
    for label in SHOWN:
        own = records.load(Style, output / f"{label}.style", model_hash=model.hash)
        people = np.stack([sample.style.vector for sample in everybody if sample.label == label])
        distance = np.linalg.norm(people - own.vector, axis=1)
        assert np.linalg.norm(people.mean(0) - own.vector) < distance.min()
        assert own.source == f"{label}: mean of 5 people" and own.n_frames == 10 * N_FRAMES
        assert np.array_equal(own.moments, own.vector[len(own.mean) :])


def test_each_person_is_one_sample_of_each_label(corpus: Corpus) -> None:
    everybody = samples.encode_samples(corpus.folder, corpus.folder / "work", load_style_model())
    assert sorted({sample.person for sample in everybody}) == sorted(
        [f"{label}{k}" for label in SHOWN for k in range(5)] + ["afraid"]
    )
    assert all(len(sample.clips) == (1 if sample.label == "fearful" else 2) for sample in everybody)


def test_labels_that_nothing_tells_apart_are_left_out(corpus: Corpus) -> None:
    everybody = samples.encode_samples(corpus.folder, corpus.folder / "work", load_style_model())
    random = np.random.default_rng(0)
    alike = [
        dataclasses.replace(
            sample, style=dataclasses.replace(sample.style, vector=random.standard_normal(40).astype(np.float32))
        )
        for sample in everybody
    ]
    verdicts = {verdict.label: verdict for verdict in named.judge(alike, named.estimate(alike))}
    assert verdicts["fearful"].fault == "1 of 2 people at least"
    assert sum(verdicts[label].fault is None for label in SHOWN) <= 1


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(VastError, match=r"index\.csv"):
        named.main(["--corpus", str(tmp_path), "--output", str(tmp_path / "styles")])
    assert not (tmp_path / "styles").exists()
