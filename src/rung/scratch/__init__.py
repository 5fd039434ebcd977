"""The glass-box engine: automatic differentiation in NumPy that hides nothing.

Read `tape` first, then `shapes`, `activations`, `losses` and `layers`; `by_hand` has the same derivatives without a
tape, and `gradcheck` says whether any of them is right.
"""
