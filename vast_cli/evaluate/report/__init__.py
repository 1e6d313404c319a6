"""The page of an evaluation: figures with their controls, and the worst clips first with frames, audio and plots."""

from vast_cli.evaluate.report.report import write_report

__all__ = ["write_report"]
