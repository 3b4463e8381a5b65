"""x"""
from kubectl_argo_rescue.simulation.incident import traefik_incident
from .harness import Run

def test_x(run: Run) -> None:
    i = traefik_incident()
    for words in (["pause", "root"], ["unblock", "traefik"], ["pin", "traefik", "2.4.1"], ["version"], ["pause", "nope", "-o", "json"], ["pin"]):
        r = run(i.api, *words)
        print(words, r.code); print(r.out); print(r.err)
    assert 0
