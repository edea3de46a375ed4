"""`https://host/path`: a scorer behind an HTTP address, see `_rest.py`."""

from feltwire.models._rest import Options, RestModel, open_rest

__all__ = ["Options", "create"]


def create(rest: str, options: Options) -> RestModel:
    """`https://host/path?option=value`; the far side need not be there yet. Raises ConfigError."""
    return open_rest("https", rest, options)
