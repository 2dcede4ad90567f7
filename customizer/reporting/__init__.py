"""What a build reports: events, result, summary, log entries."""
