"""The lab: data, training, evaluation, leaderboard, export. Everything here is optional (`feltwire[train]`)."""
