"""What people and tools see: results, plans, status, entries, reports, as lines and as JSON.

Pure but for `printer` and `outlet`, the only modules that write to a stream. Decides nothing and reads nothing."""
