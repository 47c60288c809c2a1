"""Language models: stacks of blocks, one function with state, ``hidden, state, auxiliary = model(tokens, state)``."""
