#!/bin/bash
# What a browser shows of a node in trouble, in a real Chromium: the root cause
# and the command that mends it, with nothing fetched from anywhere else.
#   tests/page.sh [BINARY [SCREENSHOT.png]]   default: target/debug/nodetriage
# Debian as root: installs chromium, curl, jq, openssl.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/nodetriage}")
screenshot=$(realpath -m "${2:-$(mktemp --suffix=.png)}")

packages=(chromium curl jq openssl)
if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

work=$(mktemp -d)
agent_pid=
finish() {
    local status=$?
    [ -z "$agent_pid" ] || kill "$agent_pid" 2>/dev/null || true
    wait
    [ $status = 0 ] || tail -n 15 "$work"/*.log
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "page.sh: $*" >&2; exit 1; }

tests/kubeadm-tree.sh make "$work/node" 2
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" serve --root "$work/node" --node-name node1 --listen "127.0.0.1:$port" 2> "$work/agent.log" &
agent_pid=$!
deadline=$((SECONDS + 10))
until curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null; do
    [ $SECONDS -lt $deadline ] || fail "nodetriage is not ready after 10 s"
    sleep 0.1
done

# No name resolves, so whatever the browser wants for itself stays here.
browse() {
    timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' \
        --user-data-dir="$work/profile" --window-size=1100,1400 "$@" "http://127.0.0.1:$port/" 2>> "$work/chromium.log"
}
browse --log-net-log="$work/requests.json" --dump-dom > "$work/dom.html"
browse --screenshot="$screenshot" >/dev/null
[ -s "$screenshot" ] || fail "no screenshot"

# What a reader sees: tags away, entities back.
python3 - "$work/dom.html" > "$work/text" <<'END'
import html.parser, sys
class Text(html.parser.HTMLParser):
    hidden = 0
    def handle_starttag(self, tag, attrs): self.hidden += tag in ("style", "script")
    def handle_endtag(self, tag): self.hidden -= tag in ("style", "script")
    def handle_data(self, data): self.hidden or print(data, end="")
Text().feed(open(sys.argv[1]).read())
END
shows() { tr -s '[:space:]' ' ' < "$work/text" | grep -qF -- "$1" || { cat "$work/text"; fail "the page does not show: $1"; }; }
report=$(curl -fsS "http://127.0.0.1:$port/api/v1/report")
shows node1
shows certificate-expiring-soon
shows /var/lib/kubelet/pki/kubelet-client-current.pem
shows "systemctl restart kubelet"
# All that the report says about the root cause, word for word.
while IFS= read -r line; do shows "$line"; done < <(
    jq -r '.findings[] | select(.code == "certificate-expiring-soon") | .summary, .remedy[], .evidence[].saw' <<< "$report" | tr -s '[:space:]' ' ' | sed 's/ $//')

# The page's requests in Chromium's own log: a navigation has no initiator, the
# browser's own needs go elsewhere, what the page fetches names the page.
page=http://127.0.0.1:$port
jq -r --arg page "$page" '.constants.logEventTypes.URL_REQUEST_START_JOB as $start | .events[]
    | select(.type == $start and (.params.initiator == $page or (.params.url // "" | startswith($page)))) | .params.url // empty' \
    "$work/requests.json" | sort -u > "$work/urls"
grep -qxF "$page/" "$work/urls" || fail "the request log does not even show the page"
if grep -vF "$page/" "$work/urls"; then fail "the page fetches from elsewhere"; fi
echo "ok: the page shows the cause and the remedy, and fetches nothing from elsewhere; screenshot: $screenshot"
