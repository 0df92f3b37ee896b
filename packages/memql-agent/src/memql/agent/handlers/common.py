"""What the handlers of model payloads share: who asks, whom, and how a failure is told."""

from __future__ import annotations

import logging

from memql.engine.access import require_account
from memql.engine.context import RequestContext
from memql.engine.tools.model_errors import si_id
from memql.engine.tools.models import Models
from memql.errors import Code, MemqlError
from memql.server.replies import Payload, new_error_id, query_error
from memql.server.session import Call

__all__ = ["context", "failed", "models"]

log = logging.getLogger(__name__)

_BY_SESSION = {Code.TIMEOUT: "si.timeout", Code.CANCELLED: "si.cancelled"}


def models(call: Call) -> Models:
    """The node's models.

    :raises MemqlError: ``UNAVAILABLE`` when it has none.
    """
    if call.services.models is None:
        raise MemqlError(Code.UNAVAILABLE, "model calls are not available on this node")
    return call.services.models


def context(call: Call) -> RequestContext:
    """Who asks.

    :raises MemqlError: ``FORBIDDEN`` for guests.
    """
    ctx = RequestContext(actor=call.actor)
    require_account(ctx)
    return ctx


def failed(call: Call, error: MemqlError) -> Payload:
    """A failure with the id of its kind, and one of its own to quote."""
    if not si_id(error) and error.code in _BY_SESSION:
        error.details["si"] = _BY_SESSION[error.code]
    if not error.error_id:
        error.error_id = new_error_id()
        # The message may quote what was asked.
        log.info("%s failed: %s (%s)", call.route.name, si_id(error) or error.code.value, error.error_id)
    return query_error(call.request_id, error)
