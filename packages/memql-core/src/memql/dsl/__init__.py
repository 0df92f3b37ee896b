"""The embedded ``.memql`` tree: what every node has before an overlay adds to it."""
