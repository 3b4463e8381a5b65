"""Programs made of Argo CD's own code, to compare with."""
