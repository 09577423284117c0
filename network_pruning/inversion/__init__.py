"""Inversion: images from what a network remembers, when its training data are gone.

`records` keeps small per-class statistics of activations beside a trained network;
`reconstruct` later optimises images until the network shows samples of them. Arithmetic
at the bottom (`moments`, `spectral`), Keras above it; import the module you need.
"""
