"""Commands of the identity service. Modules here import what a command needs when it runs."""
