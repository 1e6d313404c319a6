"""Expression: speech and style to facial motion (paper 3.3)."""

from vast_cli.expression.hybrid import ExpressionModel, load_expression_model
from vast_cli.expression.predict import predict

__all__ = ["ExpressionModel", "load_expression_model", "predict"]
