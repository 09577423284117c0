"""Markov chains over weights: one method a file, each a pure init/update pair.

To add one: a file with a function that returns a `Sampler`, and a case in
tests/posterior/test_samplers.py, where a Gaussian whose posterior is known judges it.
"""
