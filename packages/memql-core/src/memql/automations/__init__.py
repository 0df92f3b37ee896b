"""Automations: what runs when something happens or a time comes, once for all processes.

:class:`Automations` is the component; the fenced claim in :mod:`memql.automations.claims` is the primitive
    below it.
"""

from __future__ import annotations

from memql.automations.claims import Claim, ClaimLostError, Claims, Subject
from memql.automations.component import Automations
from memql.automations.events import RunAccepted, RunComplete, RunEvent, RunStep
from memql.automations.options import Options

__all__ = [
    "Automations",
    "Claim",
    "ClaimLostError",
    "Claims",
    "Options",
    "RunAccepted",
    "RunComplete",
    "RunEvent",
    "RunStep",
    "Subject",
]
