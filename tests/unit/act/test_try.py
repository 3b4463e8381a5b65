from tests.unit.act.test_last_good import push,APPLICATION,json
def test_try(run, incident):
    print(run(incident.api,"status","traefik","-o","json").out[:1500])
    push(incident, "2.5.2", broken=True)
    a=incident.api.get(APPLICATION, "argocd", "traefik")
    print(json.dumps(a["status"]["operationState"],indent=1)[:2500], a["status"]["health"], a["status"]["sync"])
    print(run(incident.api,"status","traefik").out)
    print(run(incident.api,"rescue","traefik", "--dry-run").err)
    assert 0
