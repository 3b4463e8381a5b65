"""A real control plane with real Argo CD on this machine, without containers."""
