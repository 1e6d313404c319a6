"""Speech stage: audio -> log-mel filter banks -> acoustic network -> phonetic posteriorgram (paper 3, 4.1).

`extract_ppg` is what the pipeline calls; the classes are `CLASSES`, in this order.
"""

from vast_cli.speech.acoustic import CLASSES, SIL, AcousticConfig, AcousticModel
from vast_cli.speech.plot import PLOTTED_S, plot_posteriorgram
from vast_cli.speech.ppg import extract_ppg, is_speech_present, speech_share, stream_ppg
from vast_cli.speech.weights import load_acoustic_model, save_acoustic_model

__all__ = [
    "CLASSES",
    "PLOTTED_S",
    "SIL",
    "AcousticConfig",
    "AcousticModel",
    "extract_ppg",
    "is_speech_present",
    "load_acoustic_model",
    "plot_posteriorgram",
    "save_acoustic_model",
    "speech_share",
    "stream_ppg",
]
