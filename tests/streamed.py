"""Images that do not fit in memory, in tests."""


class Streamed:
    """The same data, not in memory."""

    in_memory = False

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        assert name[:2] not in {"x_", "y_"}, name
        return getattr(self._dataset, name)
