"""The journal of a batch, one JSON object a line: `lines` are read, the `writer` appends, `replay` tells what became
of each job.
"""

from vast_cli.batch.state.lines import Row, decode, encode, read
from vast_cli.batch.state.writer import Journal

__all__ = ["Journal", "Row", "decode", "encode", "read"]
