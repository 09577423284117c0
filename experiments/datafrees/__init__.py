"""Data-free compression: flags, stages of a run, and what each procedure does."""
