#!/usr/bin/python3
"""schema_accepts PROGRAM ROOT: what a validator of JSON Schema 2020-12 says of manifests, with the schema that PROGRAM prints.

TAP. Skipped where the Python packages are not installed; test_manifest_schema checks the structure without them.
"""
import glob
import json
import subprocess
import sys

try:
    import jsonschema
    import yaml
    VALIDATOR = jsonschema.Draft202012Validator
except (ImportError, AttributeError):
    print("1..0 # SKIP python3-jsonschema or python3-yaml is not installed")
    sys.exit(0)

WEB = "app: a\nservices: {web: {start: x, %s}}"
ACCEPTED = ["{app: hello, services: {web: {start: node server.js}}}",
            WEB % "instances: max", WEB % "instances: 3", WEB % "env: {A: 1, B: yes, C: text, D: {from: db.url}, E: {generate: true}}",
            WEB % "stop: {grace: 1m30s, drain: 0, signal: SIGINT}", WEB % "resources: {cpus: 0.5, memory: 512M}",
            WEB % "restart: {backoff: 100ms..60s}", WEB % "x-owner: anna", WEB % "scaling: {min: 1, max: 3}",
            "app: a\nservices: {s: {type: static}}\nroutes: [{host: '*.a.org', path: /, service: s, tls: off}]"]
REFUSED = ["{app: Hello, services: {}}", "{services: {}}", "{app: a}", "{app: a, services: {Web: {start: x}}}", "[]",
           WEB % "instnaces: 3", WEB % "instances: 0", WEB % "instances: many", WEB % "type: wbe", WEB % "env: {1A: x}",
           WEB % "env: {A: {from: db.url, generate: true}}", WEB % "env: {A: [x]}", WEB % "stop: {grace: soon}",
           WEB % "resources: {memory: 512}", WEB % "health: {path: up}", WEB % "deploy: {maxSurge: 1.5}",
           "app: a\nservices: {}\nroutes: [{path: /}]", "app: a\nservices: {}\ndatabases: {db: {}}"]


def main(program, root):
    schema = json.loads(subprocess.run([program], check=True, capture_output=True, timeout=20).stdout)
    results = []

    def check(name, is_right, why=""):
        results.append(is_right)
        print(f"{'ok' if is_right else 'not ok'} {len(results)} - {name.encode('ascii', 'replace').decode()}{why}".replace("\n", " "))

    VALIDATOR.check_schema(schema)
    check("the schema is a schema", True)
    validator = VALIDATOR(schema)
    for path in sorted(glob.glob(root + "/examples/**/slipway.yaml", recursive=True)):
        with open(path) as text:
            errors = [error.message for error in validator.iter_errors(yaml.safe_load(text))]
        check("an example is accepted", not errors, f": {path} {errors}" if errors else "")
    for text in ACCEPTED:
        errors = [error.message for error in validator.iter_errors(yaml.safe_load(text))]
        check(f"accepted: {text}", not errors, f": {errors}" if errors else "")
    for text in REFUSED:
        check(f"refused: {text}", not validator.is_valid(yaml.safe_load(text)))
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
