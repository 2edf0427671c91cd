"""The grammar planner: controlled English, offline, without a model.

It never guesses. Every word of a prompt is accounted for by exactly one reading of the whole, or it asks back. What can
be said is data: the sentences of ``sentences``, each a pattern with slots; ``docs/planner.md`` lists them.
"""
