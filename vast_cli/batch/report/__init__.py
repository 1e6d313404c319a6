"""The report of a batch, worst jobs first: a JSON document, a table and an HTML page."""

from vast_cli.batch.report.document import build
from vast_cli.batch.report.write import write_report

__all__ = ["build", "write_report"]
