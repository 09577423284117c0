"""Suites of `python -m experiments.benchmark`, one file each, and what they share.

- `config`: the flags, which every contestant's process is handed too
- `worker`, `race`: contestants in processes of their own, timed in turns
- `table`: ratios against bars, as csv and Markdown
- `machine`: what a table must say about where it was measured
- `sweep`, `sparsity`, `ranking`: the suites
- `*_jobs`: the contestants; `trained`: a network from a run
"""
