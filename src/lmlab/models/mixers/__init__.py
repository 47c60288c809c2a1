"""Sequence mixers, one file each: ``y_BTD, state = mixer(x_BTD, state)``, made by ``Mixer(width, **options)``.

What a mixer may say of itself beside that:

- ``state_size(context)``: how many numbers its state of one sequence has after ``context`` tokens;
- ``extra_flops(context)``: floating-point operations of matrix products for one token beyond two for each entry of its
  parameters of two and more dimensions, averaged over the ``context`` tokens of a sequence that is read at once;
- ``layer.writes_residual = True``: this linear layer writes into the residual stream, so its weights start smaller;
- ``layer.keeps_initialisation = True``: the weights of this linear layer or embedding are not to be drawn anew;
- ``split()``: how several processes can share its work, a ``lmlab.models.split.Split``, or ``None``.

One with losses of its own to be added in training returns them as a third entry (``lmlab.models.block.Mixed``).
"""
