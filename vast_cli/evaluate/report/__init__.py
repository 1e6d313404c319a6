"""The page of an evaluation: figures with their controls, the worst clips first, with pictures, sound and plots."""

from vast_cli.evaluate.report.report import write_report

__all__ = ["write_report"]
