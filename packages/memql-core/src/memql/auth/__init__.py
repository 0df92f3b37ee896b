"""Actors and, with the identity service, token verification."""

from memql.auth.actor import ROLE_RANK, Actor, guest, local_owner, system

__all__ = ["ROLE_RANK", "Actor", "guest", "local_owner", "system"]
