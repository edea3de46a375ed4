"""The two classic reports: every post with its scores, and the mood by windows."""
