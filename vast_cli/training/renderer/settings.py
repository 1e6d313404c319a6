"""Settings of a renderer's fit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RendererTrainingSettings:
    """How texture, plate and G of an avatar are fitted; the defaults are those of the shipped avatars."""

    seconds: float = 720.0  # wall time to train G for; also the clock of its schedule
    seed: int = 0  # of everything random
    # texture plane, pixels a side: the face is about 110 px wide in a portrait and 165 px over footage; there 256 give
    # mouth 30.6 dB for 30.0 and gradient ratio .46 for .38 at 192
    portrait_texture: int = 192
    footage_texture: int = 256
    portrait_plate_steps: int = 600  # of the plate's fit
    footage_plate_steps: int = 400  # fewer: over footage the plate only fills the hull
    # texture noise: G must trust the mesh more than the texture, which is wrong for mouths that the footage lacks
    texture_noise: float = 0.5  # of the coefficients' standard deviation
    noise_correlation: float = 0.8  # of neighbouring frames
    base_noise: float = 1.5  # levels of 255, sd of smooth noise on base frames: errors must not become shimmer
    window: int = 6  # frames of a training sample; the paper has 16, crops are cheaper and the state is carried
    warm_frames: int = 2  # of them only carry state, without gradient
    batch: int = 4  # windows a step
    crop: tuple[int, int] = (80, 96)  # height and width, multiples of 8
    mouth_share: float = 0.65  # of the crops lie on the mouth
    mouth_weight: float = 4.0  # on pixels of the mouth's interior and lips
    speech_dropout: float = 0.25  # of the windows have unknown speech: footage and prompts may lack audio
    peak_rate: float = 6e-4
    weight_decay: float = 1e-4
    perceptual_weight: float = 0.02
    adversarial_weight: float = 0.004
    adversarial_from: float = 0.35  # share of the time after which the discriminator takes part
    discriminator_rate: float = 2e-4
    ema: float = 0.998
    check_every_s: float = 60.0  # between checkpoints with their held-out figure
    check_frames: int = 24  # held-out frames of that figure: a second of work on a core

    def texture_size(self, *, portrait: bool) -> int:
        """Pixels a side of the texture plane."""
        return self.portrait_texture if portrait else self.footage_texture

    def plate_steps(self, *, portrait: bool) -> int:
        """Steps of the plate's fit."""
        return self.portrait_plate_steps if portrait else self.footage_plate_steps
