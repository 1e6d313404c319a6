"""Types of arrays by what they hold; shapes and units stand in the docstrings of the functions that take them."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # RGB [H, W, 3], or gray [H, W]; several of them [N, ...]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
