"""Compares results: videos side by side with names, scores and waveform, or two evaluated sets clip by clip."""

from vast_cli.evaluate.compare.scores import measure_scores, read_scores
from vast_cli.evaluate.compare.sets import compare_sets
from vast_cli.evaluate.compare.video import Comparison, ComparisonSettings, compare_videos

__all__ = ["Comparison", "ComparisonSettings", "compare_sets", "compare_videos", "measure_scores", "read_scores"]
