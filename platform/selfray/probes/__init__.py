"""Probes: how well frozen features answer a question; one module each, known to recipes by its file name."""

import sys

from .. import discovery
from .probe import Probe

_HERE = sys.modules[__name__]


def names(asks: str | None = None) -> list[str]:
    """The probes that ship with selfray; only those that ask for that, as `Probe.asks` says it, if it is given."""
    found = discovery.names(_HERE, without=("probe",))
    return found if asks is None else [name for name in found if find(name).asks == asks]


def find(name: str) -> type[Probe]:
    """The probe in `probes/<name>.py`, or in your own module if `name` has a dot."""
    return discovery.find(_HERE, name, Probe, without=("probe",))
