"""Bodies: logic, decision policies, and the events they publish."""

from __future__ import annotations

from memql.engine.logic.calls import Calls, Models
from memql.engine.logic.policies import Policies, PolicyOutcome, TablesLoader
from memql.engine.logic.policy_records import PolicyRecords
from memql.engine.logic.publishing import Publisher, event_object
from memql.engine.logic.runner import Runner

__all__ = [
    "Calls",
    "Models",
    "Policies",
    "PolicyOutcome",
    "PolicyRecords",
    "Publisher",
    "Runner",
    "TablesLoader",
    "event_object",
]
