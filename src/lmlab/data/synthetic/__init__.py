"""Generated tasks with one right answer, on which recurrences and attention are known to part; one file each."""
