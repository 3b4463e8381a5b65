"""What is to be done: a snapshot and a wish become an ordered plan, or a refusal.

Pure: the same input gives the same plan, so that a planner can be asked again after a conflict.
Reads no cluster, asks nobody, prints nothing, writes nothing."""
