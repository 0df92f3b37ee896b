"""The language: text to syntax trees, syntax trees to a checked catalog, and back to text."""
