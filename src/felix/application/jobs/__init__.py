"""What is done later: the kinds of jobs, what a job sees while it runs, and the schedule."""
