"""Language models: one function with state, ``hidden, state = model(tokens, state)``, as a stack of blocks."""
