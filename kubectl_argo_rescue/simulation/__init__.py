"""A cluster with Argo CD that lives in this process: for the unit lane, and for `drill`."""
