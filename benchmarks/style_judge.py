"""The outside judge of style: which of several people moves like this? A small network that no style model knows.

    python benchmarks/style_judge.py --corpus ../shared/data/video --tracks build/tracks [--judge FILE]

It maps the motion of a face to a unit vector, trained (InfoNCE) to tell whether two windows, of the two halves of a
clip, are of the same clip; the wrong answers are other clips of the batch, of an actor in another emotion too. The
halves share no words, so it learns what stays: person and style. Training clips only, dev speakers left out.
Two versions: `whole` sees level and motion, `centred` is blind to the level and judges how the face moves.

Inputs are the 24 largest strong and 24 largest weak components, low-passed at 8 Hz, in units of sqrt(sd^2 + .05^2).
Half of the pairs are mirrored, and both windows get noise of a random size, since predictions lack the tracker's noise.
The command prints top-1 between real halves of people that it never saw.
"""

import argparse
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import style_figures as figures
import torch
from numpy.typing import NDArray
from style_clips import choose_people, load_tracked, rows_of_split
from torch import Tensor, nn
from torch.nn import functional

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.records import N_STRONG
from vast_cli.training.style.corpus import mirror_matrix

log = logging.getLogger(__name__)

KIND, VERSION = "vast.style_judge", 2
COMPONENTS = np.r_[0:24, N_STRONG : N_STRONG + 24]
GRID_CLIPS = 12  # of grid_s1: one speaker, who would fill the batches
LENGTHS = (32, 48, 64, 75)  # frames of a window


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is trained."""

    centred: bool = False
    seed: int = 0
    steps: int = 500
    batch: int = 64  # clips
    width: int = 64
    size: int = 32  # of the vector
    rate: float = 2e-3
    temperature: float = 0.1
    noise: float = 0.15  # largest sd of the noise, in units of a component


class Judge(nn.Module):
    """Motion [B, N, 48] to unit vectors [B, size]: convolutions, mean and spread over time, one linear layer."""

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.convolutions = nn.Sequential(
            nn.Conv1d(len(COMPONENTS), width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.GELU(),
        )
        self.skip = nn.Linear(2 * len(COMPONENTS), width)  # mean and log spread of the inputs
        self.head = nn.Sequential(
            nn.Linear(3 * width, width), nn.GELU(), nn.Dropout(0.2), nn.Linear(width, settings.size)
        )

    def forward(self, x: Tensor) -> Tensor:
        level = x.mean(1, keepdim=True)
        if self.settings.centred:
            x, level = x - level, torch.zeros_like(level)
        h = self.convolutions(x.transpose(1, 2))
        moments = torch.cat([level[:, 0], (x.std(1) + 0.05).log()], 1)
        pooled = torch.cat([h.mean(2), (h.std(2) + 1e-3).log(), self.skip(moments)], 1)
        return functional.normalize(self.head(pooled), dim=1)

    @torch.inference_mode()
    def vector(self, expression: Float32, sd: Float32) -> NDArray[np.float64]:
        """Unit vector of an expression [n, 233] of any length, the mean over windows of 3 s: [size]."""
        x = inputs(expression, sd)
        longest = LENGTHS[-1]
        count = max(1, round(len(x) / longest))
        starts = np.linspace(0, max(0, len(x) - longest), count).astype(int)
        windows = torch.stack([x[s : s + longest] for s in starts])
        mean = self(windows).mean(0)
        return functional.normalize(mean, dim=0).double().numpy()


def inputs(expression: Float32, sd: Float32) -> Tensor:
    """What a judge sees of an expression: [n, 48]."""
    z = figures.low_pass((expression / figures.component_units(sd))[:, COMPONENTS])
    return torch.from_numpy(np.ascontiguousarray(z, np.float32))


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeClip:
    """Inputs of a training clip and of its mirror image: [n, 48] each."""

    speaker: str
    group: str  # person and emotion: one clip of each in a batch
    seen: Tensor
    mirrored: Tensor


def train_judge(clips: list[JudgeClip], settings: JudgeSettings) -> Judge:
    """A judge trained on clips; equal seeds give equal judges."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    judge = Judge(settings)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=settings.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=settings.steps, pct_start=0.1)
    for _ in range(settings.steps):
        first, second = _draw(clips, settings, random)
        similarity = judge(first) @ judge(second).T / settings.temperature
        answer = torch.arange(len(similarity))
        loss = functional.cross_entropy(similarity, answer) + functional.cross_entropy(similarity.T, answer)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return judge.eval()


def _draw(clips: list[JudgeClip], settings: JudgeSettings, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows of both halves of clips of different groups: [B, L, 48] twice."""
    length = int(random.choice(LENGTHS))
    groups: dict[str, list[JudgeClip]] = {}
    for clip in clips:
        if len(clip.seen) >= 2 * length:
            groups.setdefault(clip.group, []).append(clip)
    names = random.permutation(sorted(groups))[: settings.batch]
    windows: tuple[list[Tensor], list[Tensor]] = ([], [])
    for name in names:
        clip = groups[name][random.integers(len(groups[name]))]
        x = clip.mirrored if random.random() < 0.5 else clip.seen
        middle = len(x) // 2
        for part, (low, high) in zip(windows, ((0, middle), (middle, len(x))), strict=True):
            start = int(random.integers(low, high - length + 1))
            part.append(x[start : start + length])
    noisy = []
    for part in windows:
        clean = torch.stack(part)
        sd = torch.from_numpy(settings.noise * random.random((len(part), 1, 1)).astype(np.float32))
        noisy.append(clean + sd * torch.from_numpy(random.standard_normal(clean.shape).astype(np.float32)))
    return noisy[0], noisy[1]


def training_clips(corpus: Path, tracks: Path, face: FaceModel) -> list[JudgeClip]:
    """Clips of split train that have a track, without dev speakers."""
    mirror = mirror_matrix(face, Topology.load().mirror)
    rows = [row for row in rows_of_split(corpus, "train", everyone=True) if row.n_frames >= 2 * LENGTHS[0]]
    grid = [row for row in rows if row.set == "grid_s1"]
    rows = [row for row in rows if row.set != "grid_s1"] + grid[:: max(1, len(grid) // GRID_CLIPS)]
    clips = []
    for clip in load_tracked(rows, tracks, face):
        x = clip.expression()
        group = f"{clip.row.speaker} {clip.row.emotion}"
        clips.append(JudgeClip(clip.row.speaker, group, inputs(x, face.sd), inputs(x @ mirror, face.sd)))
    return clips


# --- files -----------------------------------------------------------------------------------------------------------


def load_judges(path: Path, corpus: Path, tracks: Path, face: FaceModel) -> dict[str, Judge]:
    """Both judges from their files; trained first if these are missing or do not fit.

    A judge fits if it was trained with the same settings on tracks of the same face model, and on nobody who is held
    out now.
    """
    held_out = {row.speaker for split in ("dev", "val") for row in rows_of_split(corpus, split) if row.set != "grid_s1"}
    found: dict[str, Judge] = {}
    clips: list[JudgeClip] | None = None
    for name, centred in (("whole", False), ("centred", True)):
        settings = JudgeSettings(centred=centred)
        file = path.with_name(f"{path.stem}-{name}{path.suffix}")
        judge = _read(file, settings, face, held_out)
        if judge is None:
            clips = training_clips(corpus, tracks, face) if clips is None else clips
            judge = train_judge(clips, settings)
            _write(judge, file, clips, face)
        found[name] = judge
    return found


def _write(judge: Judge, file: Path, clips: list[JudgeClip], face: FaceModel) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "settings": asdict(judge.settings),
        "face_model_hash": face.hash,
        "clips": len(clips),
        "speakers": sorted({clip.speaker for clip in clips}),
    }
    tensors = {key: value.numpy() for key, value in judge.state_dict().items()}
    records.save_tensors(file, tensors, kind=KIND, version=VERSION, header=header)


def _read(file: Path, settings: JudgeSettings, face: FaceModel, held_out: set[str]) -> Judge | None:
    if not file.exists():
        return None
    try:
        tensors, header = records.load_tensors(file, kind=KIND, version=VERSION)
    except VastError as error:
        log.warning("training the judge again: %s", error)
        return None
    if header["settings"] != asdict(settings) or header["face_model_hash"] != face.hash:
        return None
    if held_out & set(header["speakers"]):
        return None
    judge = Judge(settings)
    judge.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return judge.eval()


def main() -> None:
    """Train both judges if need be, and print how often they find the other half of unseen people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--judge", type=Path, default=Path("build/style/judge.safetensors"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    face = FaceModel.load()
    started = time.time()
    judges = load_judges(options.judge, options.corpus, options.tracks, face)
    print(f"judges ready after {time.time() - started:.0f} s")
    for split in ("dev", "val"):
        people = choose_people(load_tracked(rows_of_split(options.corpus, split), options.tracks, face))
        for name, judge in judges.items():
            first, second = (
                np.stack([judge.vector(clip.expression(clip.halves[k]), face.sd) for clip in people]) for k in (0, 1)
            )
            rank = figures.ranks(first, np.arange(len(people)), second, centred=False)
            top1 = figures.estimate(np.mean, (rank == 0).astype(float))
            print(f"{split}: {name} {top1['value']:.2f} ({top1['low']:.2f}-{top1['high']:.2f}) of {len(people)} people")


if __name__ == "__main__":
    main()
