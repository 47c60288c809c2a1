"""Statistics: intervals, paired tests, power, tuning curves, scaling laws and Pareto fronts."""
