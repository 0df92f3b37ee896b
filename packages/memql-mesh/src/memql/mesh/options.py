"""The numbers of the mesh, with their defaults (spec "Liveness and the peer table", "Connections", "Push")."""

from __future__ import annotations

from dataclasses import dataclass

from memql.config import Settings

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Times are seconds.

    ``gossip_lifetime`` is how long a peer is known that others only named; they name those whom they see themselves
    every ``gossip_every``.
    ``silence`` is how long a dialed stream may bring nothing before it is torn down. ``stable_after`` is how long a
    stream must have lived for the next dial to start over with the shortest wait. ``parent_patience`` is how many
    dials of a parent may fail before another one is chosen. ``cursor_save`` bounds how often a cursor is written.
    ``own_grace`` is how long an event that is found in the log waits for its push, or for its own writer to publish it.
    """

    heartbeat: float = 5.0
    degraded: float = 15.0
    offline: float = 25.0
    gossip_lifetime: float = 60.0
    gossip_every: float = 20.0
    silence: float = 20.0
    handshake: float = 10.0
    backoff_first: float = 1.0
    backoff_most: float = 30.0
    stable_after: float = 10.0
    recheck: float = 30.0

    ttl: int = 3
    dedup_size: int = 8192
    outbox_capacity: int = 1024
    batch_events: int = 256
    batch_bytes: int = 256 * 1024

    reconcile: float = 30.0
    reconcile_quiet: float = 2.0
    rows_every: float = 3.0
    rows_grace: float = 20.0
    rows_prune: float = 1800.0
    parent_patience: int = 5

    read_every: float = 1.0
    read_batch: int = 96
    own_grace: float = 0.25
    hint_every: float = 0.01
    hint_patience: float = 0.1
    cursor_save: float = 1.0
    retention: float = 86_400.0
    prune_every: float = 3600.0
    prune_first: float = 120.0
    canary_every: float = 5.0
    canary_patience: float = 30.0

    forward_queue: int = 256
    forward_idle: float = 30.0
    stop: float = 5.0

    @classmethod
    def of(cls, settings: Settings) -> Options:
        """What the settings say; the rest by default."""
        return cls(
            heartbeat=settings.mesh_heartbeat,
            degraded=settings.mesh_degraded,
            offline=settings.mesh_offline,
            gossip_lifetime=12 * settings.mesh_heartbeat,
            gossip_every=4 * settings.mesh_heartbeat,
            silence=max(settings.mesh_degraded + settings.mesh_heartbeat, 2 * settings.mesh_heartbeat),
            ttl=settings.mesh_ttl,
            dedup_size=settings.mesh_dedup_size,
            outbox_capacity=settings.mesh_outbox_capacity,
            rows_every=settings.node_reconcile_interval,
            rows_grace=settings.node_reconcile_grace,
            rows_prune=settings.node_stale_prune_minutes * 60,
            retention=settings.mesh_outbox_retention,
        )
