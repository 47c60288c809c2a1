"""From a folder of runs to a conclusion: records, comparisons, their doubts, statistics and reports."""
