"""Rescue Argo CD applications through the Kubernetes API when Argo CD's own is out of reach."""

__version__ = "0.1.0"
