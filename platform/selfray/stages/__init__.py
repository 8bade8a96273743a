"""The stages of a pipeline, in order: what is done is not done again, what was interrupted goes on."""

from .pipeline import Pipeline
from .pretrain import Rows

__all__ = ["Pipeline", "Rows"]
