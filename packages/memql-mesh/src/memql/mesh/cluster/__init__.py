"""A whole cluster on one machine: one process per node, started, watched and started again by a supervisor.

Read in this order: ``plan.py`` (which nodes, which ports), ``place.py`` and ``state.py`` (what is kept where),
``environment.py`` (what each node is told), ``keeper.py`` (one node's process), ``supervisor.py`` (all of them).
The commands stand in ``commands/``: they read the state and send signals, so none of them needs the supervisor to
listen.
"""
