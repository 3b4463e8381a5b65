"""The words of this tool: values, guarded patches, the three-way rule, times, text, errors.

Stands on the standard library alone. Knows neither Argo CD nor a cluster, and touches nothing: no
clock, disk, network or terminal."""
