"""What can go wrong, as one tree.

    OnnxGradcamError
    ├── ModelNotFoundError        (FileNotFoundError)  no file at that path
    ├── ModelError                (ValueError)         not an ONNX classifier whose shapes are known
    ├── OptionError               (ValueError)         a layer, class or option that the model does not have
    ├── UnsupportedOperatorError  (ValueError)         the gradient passes through an operator without a rule
    ├── DependencyError           (RuntimeError)       an optional package is not installed
    └── OutputError               (OSError)            a file is already there or cannot be written

Every message says what was expected, what came and what to do.
"""


class OnnxGradcamError(Exception):
    """Base of every error that this package raises on purpose."""


class ModelNotFoundError(OnnxGradcamError, FileNotFoundError):
    """There is no ONNX file at the given path."""


class ModelError(OnnxGradcamError, ValueError):
    """A model is damaged, is no classifier of images, or leaves shapes and types unknown."""


class OptionError(OnnxGradcamError, ValueError):
    """A layer, score or class that was named does not exist, or an option has no meaning for the model."""


class UnsupportedOperatorError(OnnxGradcamError, ValueError):
    """The gradient passes through an operator, or a form of it, that has no rule."""


class DependencyError(OnnxGradcamError, RuntimeError):
    """A package that only some models need is not installed."""


class OutputError(OnnxGradcamError, OSError):
    """A file is already there, or its folder is missing, full or read-only."""
