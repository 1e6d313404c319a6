"""Batches for the style model: targets, their speech, and prompts of the same person, augmented."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vast_cli.core.arrays import Float32
from vast_cli.expression.nonautoregressive import SILENCE, speech_input
from vast_cli.records import N_PHONES
from vast_cli.style.moments import MomentSpace
from vast_cli.training.style.corpus import SHARES, StyleClip, at_pace, interpolate_rows

WINDOW = 96  # frames of a target
PROMPT = (20, 200)  # frames of a prompt; one in eight is shorter
SHORT_PROMPT = 0.12
PACE = (0.86, 1.16)  # half of the targets are played that much faster, audio and video alike
MARGIN = 8  # PPG frames beyond a target's ends; even
SILENT_RUN = 0.15  # share of targets in which a run of speech is replaced by silence with closed lips
CLOSING = [7, 22, 27, 14, 35]  # classes P, B, M, F, V
SURE = 0.5  # posterior of one of them
CLOSED_IOD = 0.004  # lip gap of closed lips, in outer-eye distances


@dataclass
class StyleBatch:
    """Targets with the prompts their styles come from; B targets of `WINDOW` frames, padded."""

    prompt: Tensor  # [B, P, 233], without the person's part
    moments: Tensor  # [B, N_MOMENTS], q of the prompts
    moments_std: Tensor  # [B, N_MOMENTS]
    prompt_ppg: Tensor  # [B, P, 40]
    prompt_known: Tensor  # [B]
    prompt_mask: Tensor  # [B, P]
    target: Tensor  # [B, N, 233]
    speech: Tensor  # [B, N, 200]
    previous_speech: Tensor  # [B, N, 200], one frame earlier, for D^ar
    mask: Tensor  # [B, N], frames of speech
    visible: Tensor  # [B, N], frames of the target whose face counts
    paired: Tensor  # [B], 1 where the speech is the target's own
    silent: Tensor  # [B, N], frames in an inserted run of silence
    closed_gap: Tensor  # [B], value of (y13 - y14) of the expression at which this person's lips are closed
    centre: Tensor  # [B, 233], mean of the target's clip
    closing: Tensor  # [B, N], frames of P, B, M, F, V in the target's own speech


class StyleBatches:
    """Samples batches; the same seed and step give the same batch, so training resumes exactly where it stopped."""

    def __init__(
        self,
        clips: list[StyleClip],
        *,
        size: int,
        seed: int,
        mirror: Float32,
        persons: Float32,
        person_noise: float,
        iod: float,
        space: MomentSpace,
    ) -> None:
        self.clips, self.size, self.seed, self.space = clips, size, seed, space
        self.mirror, self.persons, self.person_noise, self.iod = mirror, persons, person_noise, iod
        self.sets: dict[str, tuple[list[int], np.ndarray]] = {}
        for name in SHARES:
            index = [i for i, c in enumerate(clips) if c.set == name]
            if index:  # long clips more often, but not in proportion
                weight = np.array([min(clips[i].n_frames, 750) ** 0.7 for i in index])
                self.sets[name] = index, weight / weight.sum()
        self.names = list(self.sets)
        share = np.array([SHARES[n] for n in self.names])
        self.share = share / share.sum()
        self.groups: dict[tuple[str, ...], list[int]] = {}
        for i, clip in enumerate(clips):
            self.groups.setdefault(clip.group, []).append(i)
        # soft posteriors of no particular phone; sampling them for each batch took a third of a batch's time
        random = np.random.default_rng(seed)
        self.noise: Float32 = random.dirichlet(np.full(N_PHONES, 0.05), 4096).astype(np.float32)
        in_sync = [i for i, c in enumerate(clips) if c.ppgs and c.in_sync and c.set in ("talk", "grid")]
        self.drivers = in_sync or [i for i, c in enumerate(clips) if c.ppgs]

    def draw(self, step: int) -> StyleBatch:
        """The batch of a step."""
        random = np.random.default_rng([self.seed, step])
        rows = [self._sample(random) for _ in range(self.size)]
        longest = max(len(r["prompt"]) for r in rows)

        def stack(name: str, length: int) -> Tensor:
            parts = [r[name] for r in rows]
            return torch.from_numpy(
                np.stack([np.pad(p, [(0, length - len(p))] + [(0, 0)] * (p.ndim - 1)) for p in parts]).astype(
                    np.float32
                )
            )

        prompt = {n: stack(n, longest) for n in ("prompt", "prompt_ppg", "prompt_mask")}
        target = {
            n: stack(n, WINDOW) for n in ("target", "speech", "previous_speech", "mask", "visible", "silent", "closing")
        }
        single = {
            n: torch.tensor(np.array([r[n] for r in rows]), dtype=torch.float32)
            for n in ("prompt_known", "paired", "closed_gap", "centre", "moments", "moments_std")
        }
        return StyleBatch(**prompt, **target, **single)

    def _sample(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        name = self.names[random.choice(len(self.names), p=self.share)]
        index, weight = self.sets[name]
        clip = self.clips[index[random.choice(len(index), p=weight)]]
        pace = random.uniform(*PACE) if random.random() < 0.5 else 1.0
        n = min(WINDOW, int((clip.n_frames - 1) / pace))
        start = int(random.integers(0, clip.n_frames - int((n - 1) * pace) - 1))
        source, first, last = self._prompt(clip, start, start + round(n * pace), random)

        flip = random.random() < 0.5
        target, prompt = at_pace(clip.expression, start, n, pace), source.as_tracked(slice(first, last))
        centre = np.average(clip.expression, axis=0, weights=clip.weight + 1e-6)
        if flip:
            target, prompt, centre = target @ self.mirror, prompt @ self.mirror, centre @ self.mirror
        constant = self.person_noise * (random.standard_normal(len(self.persons)).astype(np.float32) @ self.persons)
        prompt = prompt + constant + 0.02 * random.standard_normal(prompt.shape).astype(np.float32)
        moments, moments_std, person = self.space.split(self.space.measure(prompt, source.weight[first:last] > 0))

        known = bool(source.ppgs) and random.random() < 0.5
        prompt_ppg = np.zeros((last - first, N_PHONES), np.float32)
        if known:
            prompt_ppg = source.speech(first, last)[:, 2 * N_PHONES : 3 * N_PHONES] ** 2

        paired = clip.in_sync
        if paired:
            driver, begin = clip, start
        else:
            driver = self.clips[self.drivers[random.integers(len(self.drivers))]]
            begin = int(random.integers(0, max(1, driver.n_frames - int(n * pace))))
        values, silent = self._speech(driver, begin, n, random, pace=pace, quiet=random.random() < SILENT_RUN)
        gap = clip.identity[13, 1] - clip.identity[14, 1]
        own = np.zeros(n, np.float32)
        if paired:
            middle = clip.speech(start, start + round(n * pace) + 1)[:, 2 * N_PHONES : 3 * N_PHONES] ** 2
            own = (at_pace(middle[:, CLOSING].sum(1, keepdims=True), 0, n, pace)[:, 0] > SURE).astype(np.float32)
        return {
            "closing": own,
            "prompt": prompt - person,
            "moments": moments,
            "moments_std": moments_std,
            "prompt_ppg": prompt_ppg,
            "prompt_mask": source.weight[first:last],
            "prompt_known": np.float32(known),
            "target": target,
            "speech": values[1:],
            "previous_speech": values[:-1],
            "mask": np.ones(n, np.float32),
            "visible": (at_pace(clip.weight[:, None], start, n, pace)[:, 0] > 0.99).astype(np.float32),
            "silent": silent,
            "paired": np.float32(paired),
            "closed_gap": np.float32(CLOSED_IOD * self.iod - gap),
            "centre": centre,
        }

    def _prompt(
        self, clip: StyleClip, start: int, stop: int, random: np.random.Generator
    ) -> tuple[StyleClip, int, int]:
        """A prompt of the same person and style, with no frame of the target if possible: (clip, first, last)."""
        length = int(random.integers(*PROMPT)) if random.random() > SHORT_PROMPT else int(random.integers(1, PROMPT[0]))
        others = [i for i in self.groups[clip.group] if self.clips[i] is not clip]
        sides = [(0, start), (stop, clip.n_frames)]
        widest = max(sides, key=lambda s: s[1] - s[0])
        if others and (random.random() < 0.5 or widest[1] - widest[0] < 50):
            source = self.clips[others[random.integers(len(others))]]
            low, high = 0, source.n_frames
        elif widest[1] - widest[0] >= 50:
            fit = [s for s in sides if s[1] - s[0] >= 50]
            source, (low, high) = clip, fit[random.integers(len(fit))]
        else:  # a short clip of a person seen once: the whole of it
            source, low, high = clip, 0, clip.n_frames
        length = min(length, high - low)
        first = int(random.integers(low, high - length + 1))
        if not source.weight[first : first + length].any():
            return source, 0, source.n_frames
        return source, first, first + length

    def _speech(
        self, clip: StyleClip, start: int, n: int, random: np.random.Generator, *, pace: float, quiet: bool
    ) -> tuple[Float32, Float32]:
        """Augmented decoder input of n + 1 frames from `start` - 1 on, and where silence was inserted, [n]."""
        source = clip.ppgs[int(random.integers(len(clip.ppgs)))]
        jitter = random.uniform(-1, 1)  # PPG frames of 20 ms
        # PPG frame j has its centre at (j + 1) / 2 video frames; a margin of 4 frames on both sides
        centre = start + pace * (np.arange(-MARGIN, 2 * n + MARGIN) + 1) / 2
        values = interpolate_rows(source, 2 * centre - 1 + clip.shift + jitter)
        values = values ** np.float32(random.uniform(0.6, 1.5))  # softer or sharper posteriors
        values = values / values.sum(1, keepdims=True)
        if random.random() < 0.3:
            noise = self.noise[random.integers(0, len(self.noise), len(values))]
            share = np.float32(random.uniform(0, 0.3))
            values = (1 - share) * values + share * noise
        silent = np.zeros(n, np.float32)
        if quiet and n >= 30:
            length = int(random.integers(16, n + 1))
            begin = int(random.integers(0, n - length + 1))
            part = values[MARGIN + 2 * begin - 1 : MARGIN + 2 * (begin + length) - 1]
            sure = np.float32(random.uniform(0.7, 1.0))
            part[:] = (1 - sure) * self.noise[random.integers(0, len(self.noise), len(part))]
            part[:, SILENCE] += sure
            silent[begin : begin + length] = 1
        return speech_input(values, MARGIN // 2 - 1, MARGIN // 2 + n), silent
