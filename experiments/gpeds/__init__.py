"""What `python -m experiments.gped` is made of."""
