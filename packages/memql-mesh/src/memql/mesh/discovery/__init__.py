"""Who is there: the rows of nodes in the database, the seeds of the environment, and whom to dial (spec "Peer
discovery", "Topology")."""
