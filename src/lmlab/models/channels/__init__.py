"""Channel mixers, one file each: subclasses of :class:`lmlab.models.channels.channel.Channel`."""
