"""What a command does: reads, checks rights, asks, writes, waits, undoes.

Joins the rooms below. Every write goes through `engine`, which records it before it is sent. Knows
no flags: what was wanted comes as `options`."""
