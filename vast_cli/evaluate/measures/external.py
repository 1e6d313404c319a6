"""Measures of published networks and of programs that the user supplies; null, never a stand-in, without them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vast_cli.evaluate.clip import Observed
from vast_cli.evaluate.reading import Reading, Spec, null

_SYNC = "--syncnet-weights"
SPECS = (
    Spec("sync_dist", "SyncNet distance (LSE-D)", "Published network; takes the best lag.", "1", "nearer_truth",
         needs=_SYNC),
    Spec("sync_conf", "SyncNet confidence (LSE-C)", "Published network; takes the best lag.", "1", "nearer_truth",
         needs=_SYNC),
    Spec("sync_offset", "SyncNet offset", "Frames that the picture is late.", "frames", "nearer_0", needs=_SYNC),
    Spec("sync_dist_lag0", "SyncNet distance in step", "At lag 0.", "1", "nearer_truth", needs=_SYNC),
    Spec("emotion_acc", "Emotion recognised", "By the program given.", "1", "higher", needs="--emotion-model"),
)  # fmt: skip
SET_SPECS = (
    Spec("fid", "FID", "Published Inception network.", "1", "lower", needs="--inception-weights"),
    Spec("wer", "Word errors of a lip reader", "Over all words of the set.", "1", "lower", needs="--lip-reader"),
    Spec("cer", "Letter errors of a lip reader", "Over all letters of the set.", "1", "lower", needs="--lip-reader"),
    Spec("mos_sync", "Rated sync", "By people; `vast study`.", "1-5", "higher", needs="vast study"),
    Spec("mos_expr", "Rated expressiveness", "By people; `vast study`.", "1-5", "higher", needs="vast study"),
    Spec("mos_nat", "Rated naturalness", "By people; `vast study`.", "1-5", "higher", needs="vast study"),
)  # fmt: skip


def read(clip: Observed) -> dict[str, Reading]:
    """What the supplied judges say of one clip."""
    return {spec.name: null("no_weights", f"give it with `{spec.needs}`") for spec in SPECS}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """What they say of the set."""
    found = {spec.name: null("no_weights", f"give it with `{spec.needs}`") for spec in SET_SPECS}
    for name in ("mos_sync", "mos_expr", "mos_nat"):
        found[name] = null("no_judges", "`vast study make` asks people")
    return found
