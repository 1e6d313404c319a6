"""Studies with people: a blinded page to send out, and what its answers say."""

from vast_cli.evaluate.study.make import DEFAULT_JUDGES, make_study
from vast_cli.evaluate.study.read import read_study

__all__ = ["DEFAULT_JUDGES", "make_study", "read_study"]
