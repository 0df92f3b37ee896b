"""The store: the database wrapper, migrations, the log of versions and its heads, and the embedded server."""
