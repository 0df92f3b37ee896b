"""The numbers of the automations component, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Times are seconds.

    ``claim_batch`` is how many claims one statement makes, and how many runs of a lane may be claimed before their
    turn; ``claim_ahead`` is how long such a run may wait for it.

    ``unguarded_runs`` per ``unguarded_window`` is how many event-triggered runs may go ahead while the
    database cannot be reached. ``chain`` is how many automations may trigger one another in a row.

    ``cursor`` is ``role:`` and the node type: the consumer that replays. It is saved every ``save_every`` while it
    moves and every ``cursor_beat`` while it does not.

    At the end, runs get ``drain`` to finish, and what is written then gets ``last_words``.
    """

    lease: float = 15.0
    take_over_every: float = 1.0
    take_overs: int = 20
    concurrency: int = 16
    concurrency_each: int = 8
    pending_each: int = 10_000
    claim_batch: int = 200
    claim_ahead: float = 0.1
    run_timeout: float = 30.0
    retry_delay: float = 0.25
    retry_delay_most: float = 10.0
    chain: int = 16
    storm_runs: int = 500
    storm_window: float = 10.0
    unguarded_runs: int = 50
    unguarded_window: float = 60.0
    read_every: float = 1.0
    read_batch: int = 500
    save_every: float = 1.0
    cursor: str = "role:bff"
    cursor_beat: float = 10.0
    prune_every: float = 600.0
    retention: float = 3600.0
    firing_retention: float = 7 * 86_400.0
    outbox_retention: float = 86_400.0
    summary_every: float = 600.0
    leader_poll: float = 0.5
    catch_up: float = 3600.0
    drain: float = 10.0
    last_words: float = 3.0
