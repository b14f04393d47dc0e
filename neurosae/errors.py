"""The errors neurosae raises on purpose; each message says what was given, what is needed, what to do."""


class NeurosaeError(Exception):
    """Any refusal of neurosae; the command line ends with exit code 3."""


class StimulusError(NeurosaeError):
    """A stimulus table cannot be read or breaks a rule."""


class ProtocolError(NeurosaeError):
    """A protocol file has a syntax error, an unknown key or a value out of range."""


class ContrastError(ProtocolError):
    """A contrast cannot be read, or names a condition the stimuli lack."""


class DesignError(NeurosaeError):
    """The design does not allow the inference asked for (circular, too few items, one class)."""


class SubjectError(NeurosaeError):
    """A subject cannot be found or lacks the layer, site or context length asked for."""


class DictionaryError(NeurosaeError):
    """A dictionary cannot be read, or belongs to another subject, site or layer."""


class ManipulationError(NeurosaeError):
    """A lesion or stimulation left the model unchanged where it must not, or the reverse."""


class StorageError(NeurosaeError):
    """A file or folder cannot be written, or holds something else."""


class CorruptFileError(StorageError):
    """A file is truncated, altered or of another kind."""
