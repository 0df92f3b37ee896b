"""Actors and the verification of callers (spec "RPC authentication").

Read in this order: ``claims``, ``verifier`` (a token by itself), ``standing`` and ``credentials`` (what the database
says about it), ``surfaces`` (where it is admitted), ``revocation`` (how it ends). Only the actors are imported here: a
process that verifies nothing loads no cryptography.
"""

from memql.auth.actor import ROLE_RANK, Actor, guest, local_owner, machine, operator, person, system

__all__ = ["ROLE_RANK", "Actor", "guest", "local_owner", "machine", "operator", "person", "system"]
