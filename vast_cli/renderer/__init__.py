"""Renders avatars: textured mesh over plate or footage, refined by the network G (paper 3.4, App. B)."""

from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.head_motion import HeadMotion
from vast_cli.renderer.limiter import ExpressionRange, limit_expression
from vast_cli.renderer.render import Renderer, RendererState, speech_windows
from vast_cli.renderer.scene import Scene
from vast_cli.store.bundles import find as find_avatar

__all__ = [
    "Avatar",
    "ExpressionRange",
    "HeadMotion",
    "Renderer",
    "RendererState",
    "Scene",
    "find_avatar",
    "limit_expression",
    "speech_windows",
]
