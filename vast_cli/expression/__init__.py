"""Facial motion from speech and style (paper 3.3)."""

from vast_cli.expression.hybrid import ExpressionModel, load_expression_model
from vast_cli.expression.predict import predict

__all__ = ["ExpressionModel", "load_expression_model", "predict"]
