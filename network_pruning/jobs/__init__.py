"""What a command does, composed from the wings: train, evaluate, sweep."""
