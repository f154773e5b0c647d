"""The choice between torch's own kernels and ours in C, for the cores that can run on either."""

KERNELS = ("library", "native", "fused")


class Choice:
    """Mixin of a core, placed before `nn.Module`.

    `core.kernels` chooses who computes the same function of the same weights: `library`, which is torch, or `native`,
    our own kernels in C (`kernels/native`), for float32 on the CPU where there is a C compiler; elsewhere torch again.
    `fused` is our own loop over time in torch, for recurrent layers: in float64 it is the fastest, which the gradient
    over distance uses. The choice is no part of the weights: a checkpoint of one loads in the other. Our own kernels
    are differentiable once.
    """

    _kernels = "library"

    @property
    def kernels(self) -> str:
        """Who computes: `library` (torch), `native` or `fused`.

        Setting another value raises ValueError.
        """
        return self._kernels

    @kernels.setter
    def kernels(self, kernels: str) -> None:
        if kernels not in KERNELS:
            raise ValueError(f"kernels must be one of {', '.join(KERNELS)}, got {kernels}")
        self._kernels = kernels

    @property
    def ran(self) -> str:
        """Who computes for inputs of the parameters' type and device: native or library."""
        raise NotImplementedError
