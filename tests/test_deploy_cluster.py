"""The files in docs/deploy for several nodes agree with schemas, linters, and this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import promql_parser
import pytest
import yaml
from typer.testing import CliRunner

from xyt_stream.server.app import running
from xyt_stream.server.cluster.haproxy import config, program

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIND = ":8443 ssl crt /usr/local/etc/haproxy/service.pem"
HEAD = """\
# The configuration that `xyt-stream cluster` runs, with TLS, and names from DNS.
resolvers dns
    parse-resolv-conf
    hold valid 2s

"""
OPTIONS = "resolvers dns init-addr libc,none"
FILES = {
    DEPLOY / "haproxy.cfg": {f"node-{n}": f"node-{n}:8765" for n in (1, 2, 3)},
    KUBERNETES / "haproxy.cfg": {f"xyt-{n}": f"xyt-{n}.xyt:8765" for n in range(12)},
}


def resources():
    """Every Kubernetes resource, by its kind and name."""
    found = {}
    for file in KUBERNETES.glob("*.yaml"):
        if file.name != "kustomization.yaml":
            for resource in yaml.safe_load_all(file.read_text()):
                found[resource["kind"], resource["metadata"]["name"]] = resource
    return found


def serve_options():
    from xyt_stream.cli.server import app

    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "TERM": "dumb"})
    assert done.exit_code == 0
    return set(re.findall(r"--[a-z][a-z-]+", done.output))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_proxy_s_file_is_what_the_command_runs(path):
    assert path.read_text() == config(BIND, FILES[path], head=HEAD, options=OPTIONS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_haproxy_accepts_its_file(path, tmp_path):
    text = path.read_text().replace(f"ssl crt {BIND.split()[-1]}", "")
    (tmp_path / "haproxy.cfg").write_text(text)
    done = subprocess.run(
        [program(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_kubernetes_accepts_every_manifest():
    found = resources()
    for resource in found.values():
        kubernetes_validate.validate(resource, "1.30", strict=True)
    assert {kind for kind, _ in found} >= {
        "StatefulSet",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    }
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    names = {file.name for file in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == names


def test_nodes_have_time_to_give_their_sessions_up():
    spec = resources()["StatefulSet", "xyt"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (drain,) = [word for word in container["args"] if word.startswith("--drain-time=")]
    seconds = float(drain.partition("=")[2])
    assert spec["terminationGracePeriodSeconds"] > 2 * seconds + 4
    assert container["lifecycle"]["preStop"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name in ("node-1", "node-2", "node-3"):
        node = compose["services"][name]
        (drain,) = [word for word in node["command"] if word.startswith("--drain-time=")]
        grace = float(node["stop_grace_period"].removesuffix("s"))
        assert grace > 2 * float(drain.partition("=")[2]) + 4


def test_the_nodes_options_exist():
    known = serve_options()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (container,) = resources()["StatefulSet", "xyt"]["spec"]["template"]["spec"]["containers"]
    for words in (
        container["args"],
        *(compose["services"][f"node-{n}"]["command"] for n in (1, 2, 3)),
    ):
        assert words
        assert {word.partition("=")[0] for word in words} <= known


def test_the_service_s_ports_lead_to_the_nodes():
    found = resources()
    (container,) = found["StatefulSet", "xyt"]["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert found["Service", "xyt"]["spec"]["ports"][0]["port"] == port["containerPort"] == 8765
    assert found["Service", "xyt"]["spec"]["clusterIP"] == "None"
    labels = found["StatefulSet", "xyt"]["spec"]["template"]["metadata"]["labels"]
    for kind, name, path in (
        ("Service", "xyt", ("spec", "selector")),
        ("PodDisruptionBudget", "xyt", ("spec", "selector", "matchLabels")),
        ("NetworkPolicy", "xyt", ("spec", "podSelector", "matchLabels")),
    ):
        selector = found[kind, name]
        for key in path:
            selector = selector[key]
        assert selector.items() <= labels.items()


def test_compose_accepts_its_file():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    """Every PromQL expression of the alert rules and the dashboard."""
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["alert"]
            assert rule["annotations"]["summary"]
            assert rule["labels"]["severity"] in ("info", "warning", "critical")
            yield rule["expr"]
    for panel in json.loads((DEPLOY / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


async def test_rules_and_panels_ask_for_metrics_that_exist():
    async with running(None) as server:
        page = server.service.metrics.page().decode()
    known = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    found = list(expressions())
    assert len(found) > 20
    for text in found:
        promql_parser.parse(text)
        asked = set(re.findall(r"\bxyt_\w+", text))
        assert asked, text
        assert asked <= known, asked - known
