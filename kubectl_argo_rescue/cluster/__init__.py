"""How we speak with API servers: a transport, one call with its retries, the verbs, waiting.

The only room that touches the network, and that starts kubectl. Knows objects and answers, not
what Argo CD means by them and not why they are written."""
