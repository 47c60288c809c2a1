"""Sequence mixers, one file each: subclasses of :class:`lmlab.models.mixers.mixer.Mixer`."""
