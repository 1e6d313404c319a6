"""Style encoder, enhancer and hybrid decoder, trained together (paper 3.1-3.3, Eq. 2)."""
