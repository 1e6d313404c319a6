"""Array types by element type; shapes and units are documented where the arrays are used."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # RGB [H, W, 3] or gray [H, W]; a batch has [N, ...]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
