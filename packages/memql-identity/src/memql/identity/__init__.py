"""The identity role: who one is. It issues tokens and keys (spec "Placement").

Read in this order: ``role``, ``service``, ``issuing``, ``keyring``.
"""

from __future__ import annotations

from memql.identity.role import IdentityRole

__all__ = ["IdentityRole"]
