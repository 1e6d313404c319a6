"""Renderer: textured mesh, layered plate or footage, and the network G that adds what they cannot (paper 3.4, App. B)."""

from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.avatars import find as find_avatar
from vast_cli.renderer.limiter import ExpressionRange, limit_expression
from vast_cli.renderer.render import Renderer

__all__ = ["Avatar", "ExpressionRange", "Renderer", "find_avatar", "limit_expression"]
