#!/bin/bash
# A real Prometheus scrapes a real `nodetriage serve` over a node whose kubelet
# certificate ends in two days; the alert must reach a real Alertmanager, and
# resolve once the certificate has been renewed.
#   tests/alerts.sh [BINARY]        default: target/debug/nodetriage
# Debian as root: installs prometheus, prometheus-alertmanager, curl, jq, openssl.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/nodetriage}")

# In a container no init runs that would start their services; a machine with
# systemd gets them as its own.
packages=(prometheus prometheus-alertmanager curl jq openssl)
if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

work=$(mktemp -d)
pids=()
finish() {
    local status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    [ $status = 0 ] || tail -n 15 "$work"/*.log
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "alerts.sh: $*" >&2; exit 1; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within its time: $what"
        sleep 0.2
    done
}

promtool check rules --lint-fatal deploy/prometheus/nodetriage.rules.yaml >/dev/null
promtool test rules deploy/prometheus/tests.yaml >/dev/null

# The node and its agent.
tests/kubeadm-tree.sh make "$work/node" 2
agent=127.0.0.1:$(free_port)
"$binary" serve --root "$work/node" --node-name node1 --listen "$agent" 2> "$work/agent.log" &
agent_pid=$!
pids+=("$agent_pid")
until_true 10 "nodetriage is ready" curl -fs -o /dev/null "http://$agent/readyz"
curl -fsS "http://$agent/metrics" > "$work/metrics"
status=0
promtool check metrics < "$work/metrics" || status=$?
[ $status = 0 ] || fail "promtool check metrics exits with $status"

# A rule on a metric that does not exist never fires.
grep -oE '\bnodetriage_[a-z_]+' deploy/prometheus/nodetriage.rules.yaml | sort -u | while read -r name; do
    grep -qE "^$name[{ ]" "$work/metrics" || { grep -v '^#' "$work/metrics"; fail "the rules use $name, which is not served"; }
done

# The shipped configuration with its delays shortened, and the node found by name
# instead of by the API server, which Debian's Prometheus is built without.
sed -E 's/^( +(for|keep_firing_for):) .*/\1 0s/' deploy/prometheus/nodetriage.rules.yaml > "$work/nodetriage.rules.yaml"
sed -E -e 's/kubernetes_sd_configs:/static_configs:/' \
    -e 's/- role: node/- { targets: ["127.0.0.1:10250"], labels: { __meta_kubernetes_node_name: node1 } }/' \
    -e "s/:20258/:${agent##*:}/" -e 's/scrape_interval: .*/scrape_interval: 1s/' \
    deploy/prometheus/scrape.yaml > "$work/prometheus.yml"
alertmanager=127.0.0.1:$(free_port)
prometheus=127.0.0.1:$(free_port)
cat >> "$work/prometheus.yml" <<END
global: { evaluation_interval: 1s }
rule_files: [$work/nodetriage.rules.yaml]
alerting: { alertmanagers: [{ static_configs: [{ targets: ["$alertmanager"] }] }] }
END
promtool check config "$work/prometheus.yml" >/dev/null
printf 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n' > "$work/alertmanager.yml"
prometheus-alertmanager --config.file="$work/alertmanager.yml" --storage.path="$work/alertmanager" \
    --web.listen-address="$alertmanager" --cluster.listen-address= 2> "$work/alertmanager.log" &
pids+=($!)
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
    --web.listen-address="$prometheus" --rules.alert.resend-delay=1s 2> "$work/prometheus.log" &
pids+=($!)

# alerts FILTER: what the Alertmanager holds as active.
alerts() { curl -fsS "http://$alertmanager/api/v2/alerts?active=true" 2>/dev/null | jq -e "[.[] | select(.status.state == \"active\")] | $1" > "$work/answer"; }
certificate='map(select(.labels.alertname == "NodetriageCertificateExpiresThisWeek"))'

until_true 60 "the certificate's alert is in the Alertmanager" alerts "$certificate | length == 1"
alerts "$certificate[0]"
jq -e '.labels.severity == "critical" and .labels.node == "node1" and .labels.subject == "/var/lib/kubelet/pki/kubelet-client-current.pem"
       and (.annotations.summary | contains("expires within 7 days"))' "$work/answer" >/dev/null || { cat "$work/answer"; fail "the alert says something else"; }
curl -fsS "$(jq -r .annotations.runbook_url "$work/answer")" | grep -q certificate-expiring-soon || fail "the alert's runbook_url does not lead to the finding"
alerts 'map(select(.labels.alertname == "NodetriageCriticalFinding" and (.labels.code | startswith("certificate-exp")))) | length == 0' ||
    fail "the certificate pages twice"
echo "ok: the alert reached the Alertmanager"

tests/kubeadm-tree.sh renew "$work/node" 365
until_true 60 "the certificate's alert resolves after the renewal" alerts "$certificate | length == 0"
curl -fsS "http://$prometheus/api/v1/query?query=up%7Bjob%3D%22nodetriage%22%7D" | jq -e '.data.result[0].value[1] == "1"' >/dev/null ||
    fail "it resolved because nodetriage is not scraped any more"
echo "ok: it resolved after the renewal"

kill "$agent_pid"
until_true 60 "an agent that is gone is noticed" alerts 'map(select(.labels.alertname == "NodetriageDown")) | length == 1'
echo "ok: an agent that is gone is noticed"
