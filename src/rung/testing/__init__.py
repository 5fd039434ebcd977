"""Checks for a model of your own: does it keep what its contract (`rung.models.base`) promises?

    from rung.testing import check_model
    check_model(run.model)

They raise AssertionError with the promise that is broken and the numbers that show it, and need no test framework.
"""

from rung.testing.classifier import check_classifier
from rung.testing.encoder import check_encoder
from rung.testing.language_model import check_model
from rung.testing.masked import check_masked
from rung.testing.tagger import check_tagger
from rung.testing.vectors import check_vectors

__all__ = [
    "check_classifier",
    "check_encoder",
    "check_masked",
    "check_model",
    "check_tagger",
    "check_vectors",
]
