"""An avatar from footage: measured footage, textures, plate, then the network G (paper 3.4, Eq. 5-7)."""
