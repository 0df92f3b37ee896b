"""The guarantee below the push: whatever it loses is found in the database (spec "Durable substrate")."""
