"""Trust between nodes: what each shows, whom each lets in, and what is written down about those it does not."""
