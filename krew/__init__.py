"""Makes the archives and the manifest that Krew installs."""
