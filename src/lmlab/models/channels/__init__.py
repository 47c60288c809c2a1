"""Channel mixers, one file each: ``y_BTD = channel(x_BTD)``, the same function at every position.

They may say of themselves what mixers may (see ``lmlab.models.mixers``).
"""
