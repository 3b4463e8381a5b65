"""What Argo CD means: its objects read as its own code reads them, with the upstream line named.

Pure: objects as JSON in, facts out. A field that Argo CD renames, a rule that it changes and a
version that differs are mended here and nowhere else. Asks nobody and writes nothing."""
