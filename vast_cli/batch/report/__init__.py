"""A batch as one page, worst first; as a table; as a document."""

from vast_cli.batch.report.document import build
from vast_cli.batch.report.write import write_report

__all__ = ["build", "write_report"]
