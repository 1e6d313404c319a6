"""Variational style enhancer E^v: Householder flow from z0 to the style vector s = zK (paper 3.2, appendix A)."""

import torch
from torch import Tensor, nn

from vast_cli.style.encoder import StyleConfig


def householder(z: Tensor, vector: Tensor) -> Tensor:
    """Reflect z [B, d] in the plane orthogonal to `vector` [B, d]: H z = z - 2 v (v.z) / |v|^2. |z| is unchanged."""
    square = (vector**2).sum(-1, keepdim=True).clamp_min(1e-12)
    return z - 2 * vector * (vector * z).sum(-1, keepdim=True) / square


class StyleEnhancer(nn.Module):
    """K Householder reflections whose vectors depend on the clip (Tomczak & Welling 2016, the paper's [39]).

    The first vector comes from h, the last hidden layer of E^p, each further one from its predecessor by a linear
    layer: v1 = W1 h, v_{k+1} = W_{k+1} v_k. A product of reflections is any orthogonal matrix U, so that
    q(zK | X, A) = N(U mean, U diag(std^2) U^T) has a full covariance although that of z0 is diagonal.

    Args:
        config: sizes.
    """

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        self.n_reflections = config.n_reflections
        self.first = nn.Linear(config.hidden, config.d_style)
        self.following = nn.ModuleList(
            nn.Linear(config.d_style, config.d_style) for _ in range(config.n_reflections - 1)
        )

    def flow_seed(self, h: Tensor) -> Tensor:
        """First Householder vector v1 [B, d_s] of h [B, hidden]."""
        seed: Tensor = self.first(h)
        return seed

    def forward(self, z0: Tensor, flow_seed: Tensor) -> tuple[Tensor, Tensor]:
        """Run the flow.

        Args:
            z0: [B, d_s].
            flow_seed: [B, d_s], first Householder vector.

        Returns:
            s = zK [B, d_s], and sum over k of ln |det dH^(k)/dz^(k-1)| [B], the third term of Eq. 2. A reflection has
            determinant -1, so that sum is exactly 0; it is returned and part of the loss because another flow would
            need it.
        """
        if self.n_reflections == 0:  # the diagonal posterior of a plain variational autoencoder
            return z0, torch.zeros_like(z0[:, 0])
        vector = flow_seed
        z = householder(z0, vector)
        for layer in self.following:
            vector = layer(vector)
            z = householder(z, vector)
        return z, torch.zeros_like(z0[:, 0])


def kl_divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(q(z0 | X, A) || p(zK)), first term of Eq. 2, per dimension of z0: [B, d_s] in nats.

    With q(z0) = N(mean, diag std^2), p = N(0, I) and zK = U z0, U orthogonal given the clip:
    KL = E_q[ln q(z0) - ln p(U z0)], and p(U z0) = p(z0) because p depends on |z| only. So it is the closed form of two
    diagonal Gaussians, 1/2 (mean^2 + std^2 - 1 - 2 ln std) summed over dimensions, whatever the reflections are: they
    are free here, and a rotated posterior can fit the second term of Eq. 2 better.
    """
    return 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std)
