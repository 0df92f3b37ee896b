"""A node: the process that opens database, engine, automations and server in order, and closes them in reverse."""

from __future__ import annotations

from memql.node.lifecycle import State
from memql.node.node import Node, open_node
from memql.node.roles import Component, Role
from memql.node.running import run_node

__all__ = ["Component", "Node", "Role", "State", "open_node", "run_node"]
