"""The command line: the root with its lazy table of verbs, flags as kubectl reads them, completion.

The only room that knows click, beside the verbs. `--help` and completion of words load nothing else."""
