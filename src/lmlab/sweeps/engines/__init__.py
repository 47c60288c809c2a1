"""Where the runs of a sweep are executed: this machine, a SLURM cluster, a Ray cluster."""
