"""Pruning: what to cut (criteria, masks), and two ways to cut it (gate, shrink).

Arithmetic at the bottom (`masks`), Keras above it; import the module you need.
"""
