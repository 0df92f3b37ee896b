"""What the tests of every distribution share; the fixtures live with the core, whose real parts they are."""

pytest_plugins = ("database_fixtures",)
