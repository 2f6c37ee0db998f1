"""The errors of the recogniser. Each message says what to do about it."""


class AsrError(Exception):
    """Base of everything that voicewire.asr raises on purpose."""


class WeightsError(AsrError):
    """Weights or an adapter are missing, damaged, or not of the kind that was asked for."""


class SettingsError(AsrError, ValueError):
    """A setting lies outside what the recogniser can do."""


class AudioError(AsrError, ValueError):
    """Audio of the wrong shape, type or sample rate."""


class CapacityError(AsrError):
    """Every slot is taken."""


class SnapshotError(AsrError, ValueError):
    """A snapshot is damaged, or was taken from another model, adapter or version."""


class RecogniserLostError(AsrError):
    """A recogniser is gone, with all its streams: another one must be loaded."""
