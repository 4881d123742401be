"""People look at tiles and say what they show: sets, answers, agreement, decisions, audits."""
