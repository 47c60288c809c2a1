"""Engines that execute the runs of a sweep: this machine, a SLURM cluster, a Ray cluster."""
