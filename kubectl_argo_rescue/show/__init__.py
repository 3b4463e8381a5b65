"""What people and tools see: results, plans, status, entries, reports, as lines and as JSON.

Pure but for `printer`, the only module that writes to a stream. Decides nothing and reads nothing."""
