"""Where a cluster keeps its things: the directory ``cluster`` in the home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SUPERVISOR", "Place"]

SUPERVISOR = "supervisor"
"""What the supervisor is called among the nodes."""


@dataclass(frozen=True, slots=True)
class Place:
    """The files of the cluster of a home."""

    home: Path

    @property
    def directory(self) -> Path:
        """All of it; for its owner alone."""
        return self.home / "cluster"

    @property
    def state(self) -> Path:
        """What runs: see :mod:`memql.mesh.cluster.state`."""
        return self.directory / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.directory / "lock"

    @property
    def secrets(self) -> Path:
        """What was made once for this cluster: see :mod:`memql.mesh.cluster.secrets`."""
        return self.directory / "secrets.json"

    @property
    def owner_token(self) -> Path:
        """The credential of the owner, for the commands of this machine."""
        return self.directory / "owner.token"

    @property
    def output(self) -> Path:
        """What a supervisor in the background says."""
        return self.directory / "supervisor.out"

    @property
    def tls(self) -> Path:
        """The authority and the certificates of the nodes."""
        return self.directory / "tls"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority."""
        return self.tls / "ca.pem"

    @property
    def logs(self) -> Path:
        """The logs."""
        return self.directory / "logs"

    def log(self, node_id: str) -> Path:
        """The log of a node, or of the supervisor."""
        return self.logs / f"{node_id}.log"

    def certificate(self, node_id: str) -> Path:
        """The certificate of a node."""
        return self.tls / f"{node_id}.pem"

    def key(self, node_id: str) -> Path:
        """The private key of a node."""
        return self.tls / f"{node_id}.key"
