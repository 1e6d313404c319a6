"""LagSync: does the mouth fit the sound, and how many frames is it late?"""
