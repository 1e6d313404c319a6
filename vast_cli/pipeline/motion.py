"""Style and speech to motion: the style vector at a strength, predicted expression within the avatar's range."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vast_cli import expression, records, renderer, speech
from vast_cli import style as styles
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.pipeline.extract import extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.options import MotionOptions
from vast_cli.records import Motion, Posteriorgram, Style


def check_speech(ppg: Posteriorgram, audio: Path, *, allow_silence: bool) -> None:
    """Refuse audio without speech unless silence is allowed.

    Raises:
        VastError: `vast_no_speech`.
    """
    if not allow_silence and not speech.is_speech_present(ppg):
        raise VastError("vast_no_speech", f"`{audio}` holds no speech")


def style_vector(prompt_style: Style | None, avatar: renderer.Avatar, models: Models, *, strength: float) -> Float32:
    """s at a strength, on the line from the avatar's own style to the prompt's."""
    neutral = avatar.neutral_style(models.style_model.hash)
    if neutral is None:
        neutral = np.zeros(models.style_model.d_style, np.float32)  # the prior's mean
    return neutral if prompt_style is None else styles.interpolate(neutral, prompt_style.vector, strength)


def head_motion(
    prompt_style: Style | None, avatar: renderer.Avatar, *, amount: float, seed: int
) -> tuple[renderer.HeadMotion | None, list[str]]:
    """Turns of the head in the style of the prompt, None where the template's own poses stay; and warnings.

    An avatar over footage has images of its own poses only. That is a warning, not an error: in a batch, styles and
    avatars change by row, and the video is fine without.
    """
    if prompt_style is None or amount == 0:
        return None, []
    if avatar.footage is not None:
        return None, [f"head_motion has no effect: `{avatar.name}` is rendered over its footage, and moves as there"]
    return renderer.HeadMotion.in_style(prompt_style.head, avatar.rotation, amount=amount, seed=seed), []


def expressions(
    ppg: Posteriorgram, vector: Float32, avatar: renderer.Avatar, models: Models, *, max_exaggeration: float, seed: int
) -> Iterator[tuple[Float32, int]]:
    """D: predicted expression [n, 233] in runs, limited to the avatar's range; and how many frames were limited."""
    person = avatar.person_part(models.style_model.hash)
    for run in expression.predict(ppg, vector, models.expression_model, seed=seed):
        if not np.isfinite(run).all():
            raise VastError("vast_non_finite", "the expression decoder gave values that are not numbers")
        limited, changed = renderer.limit_expression(
            run + person, avatar.expression_range, max_exaggeration=max_exaggeration
        )
        yield limited, int(changed.sum())


def predict_motion(
    audio: Path,
    models: Models,
    *,
    style: Path | None,
    avatar: str,
    options: MotionOptions,
    progress: Progress = silent,
) -> Motion:
    """Expression without frames: what `vast predict` writes.

    Raises:
        VastError: whatever the stages raise.
    """
    bundle = models.avatar(avatar)
    prompt_style = None if style is None else records.load(Style, style, model_hash=models.style_model.hash)
    ppg = extract_speech(audio, models, progress=progress)
    check_speech(ppg, audio, allow_silence=options.allow_silence)
    vector = style_vector(prompt_style, bundle, models, strength=options.style_strength)
    runs, limited = zip(
        *expressions(ppg, vector, bundle, models, max_exaggeration=options.max_exaggeration, seed=options.seed),
        strict=True,
    )
    return Motion(
        expression=np.concatenate(runs),
        n_samples=ppg.n_samples,
        avatar=bundle.name,
        limited_share=sum(limited) / ppg.n_frames,
        face_model_hash=models.face_model.hash,
        model_hash=models.style_model.hash,
    )
