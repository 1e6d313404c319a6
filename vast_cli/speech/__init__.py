"""Speech stage: sound -> log-mel filter banks -> acoustic network -> phonetic posteriorgram (paper 3, 4.1).

`extract_ppg` is what the pipeline calls; the classes are `CLASSES`, in this order.
"""

from vast_cli.speech.acoustic import CLASSES, SIL, AcousticConfig, AcousticModel
from vast_cli.speech.plot import DRAWN_S, draw_posteriorgram
from vast_cli.speech.ppg import extract_ppg, is_speech_present, speech_share, stream_ppg
from vast_cli.speech.weights import load_acoustic_model, save_acoustic_model

__all__ = [
    "CLASSES",
    "DRAWN_S",
    "SIL",
    "AcousticConfig",
    "AcousticModel",
    "draw_posteriorgram",
    "extract_ppg",
    "is_speech_present",
    "load_acoustic_model",
    "save_acoustic_model",
    "speech_share",
    "stream_ppg",
]
