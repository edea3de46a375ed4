"""What fails. One tree; whether to try again is decided by type, never by reading a message.

A message says what came, what is allowed, and what to do.
"""


class FeltwireError(Exception):
    """The root of every error that Feltwire raises on purpose."""


class RetryableError(FeltwireError):
    """The world failed and may recover by itself: wait, then try the same thing again."""


class FatalError(FeltwireError):
    """Trying again cannot help; a person has to change something."""


class ConfigError(FatalError):
    """A setting, option or argument is wrong. The command line ends with exit code 2."""


class MissingExtraError(ConfigError):
    """A plugin needs a library that is not installed; the message names the extra to install."""


class SourceError(RetryableError):
    """A source cannot deliver now: refused, unreachable or silent."""


class LogError(RetryableError):
    """The log cannot be read or written now: disk full, locked, unreachable."""


class LakeError(RetryableError):
    """The lake cannot be read or written now."""


class SchemaError(FatalError):
    """A batch or a table does not have the columns and types of `schema.py`."""


class PositionError(FatalError):
    """The lake and the log contradict each other: a position past the log's end, rows without a position."""


class ClaimError(FatalError):
    """Another worker holds this partition of this pipeline, or has moved it on."""


class ModelError(FatalError):
    """A model cannot be loaded, or answers with something other than its declared heads."""


class ModelAwayError(RetryableError):
    """A remote model does not answer now, or may not be asked now: its posts wait."""


class ModelBusyError(ModelAwayError):
    """A remote model answers and has not answered everything yet: ask again, what it has answered is kept."""


class DestinationError(RetryableError):
    """A follower's destination did not take the rows."""
