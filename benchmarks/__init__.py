"""Speed and memory against named baselines, measured in the same run and printed as ratios.

``python -m benchmarks`` runs all; ``python -m benchmarks reads writes`` runs some; ``--update`` also writes the table
into ``docs/performance.md``.
"""
