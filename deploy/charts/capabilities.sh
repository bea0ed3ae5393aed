#!/bin/sh
# What fails when one capability is taken away from a part of Weft: each in turn on an installed cluster, with a new pod of
# the mesh, a running one and a request as the test. Prints the rows of the table in docs/guide/kubernetes.md and puts
# everything back.
#
# usage: cargo xtask cluster run -- sh deploy/charts/capabilities.sh
# (any cluster will do on which Weft is installed in weft-system and weft.local/sample-shell:1 can be pulled)
set -u
system="kubectl -n weft-system"
try="kubectl -n weft-try"

pod() { # NAME
    $try apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: app, image: "weft.local/sample-shell:1", imagePullPolicy: IfNotPresent, env: [{name: PORTS, value: "http:8080"}]}
---
apiVersion: v1
kind: Service
metadata: {name: $1}
spec: {selector: {app: $1}, ports: [{name: http, port: 80, targetPort: 8080}]}
END
}

begin() {
    kubectl create namespace weft-try >/dev/null
    # From here on every node's plugin knows that these pods are the mesh's.
    kubectl label namespace weft-try weft.mesh/mode=enabled >/dev/null
    pod running
    $try wait --for=condition=Ready pod/running --timeout=60s >/dev/null || exit 1
}

# Gives a part's container these capabilities, on all nodes at once: PART FLAVOUR CAPABILITY...
give() {
    part=$1 flavour=$2
    shift 2
    list=$(echo "$@" | sed 's/ /","/g; s/.*/["&"]/')
    $system set env daemonset/weft-agent WEFT_IPTABLES=$flavour >/dev/null
    $system patch daemonset weft-$part --type=json -p "[{\"op\": \"replace\", \"path\":
        \"/spec/template/spec/containers/0/securityContext/capabilities/add\", \"value\": $list}]" >/dev/null
    $system delete pods -l app.kubernetes.io/part-of=weft,app.kubernetes.io/name!=weft-operator --wait >/dev/null
    $system rollout status daemonset/weft-agent --timeout=30s >/dev/null 2>&1 &&
        $system rollout status daemonset/weft-proxy --timeout=30s >/dev/null 2>&1
}

# The newest complaint of a part.
complaint() {
    $system logs -l app.kubernetes.io/name=weft-$1 --prefix=false --tail=60 2>/dev/null |
        grep -E '"level":"(WARN|ERROR)"|^[Ee]rror' | grep -v 'no operator' | tail -n 1 |
        sed 's/"timestamp":"[^"]*",//' | cut -c1-300
}

# What does not work, in the order in which a user would notice.
look() {
    pod fresh
    if ! $try wait --for=condition=Ready pod/fresh --timeout=25s >/dev/null 2>&1; then
        why=$($try get events --field-selector involvedObject.name=fresh,type=Warning \
            -o jsonpath='{.items[-1:].message}' | grep -o 'plugin type="weft-cni".*' | cut -c1-200)
        echo "a new pod does not start: $why"
        return
    fi
    if ! $try exec running -- timeout 5 wget -q -O /dev/null http://fresh/ 2>/dev/null; then
        echo "a request from a running pod fails"
        return
    fi
    if ! $try exec fresh -- timeout 5 wget -q -O /dev/null http://running/ 2>/dev/null; then
        echo "a request from a new pod fails"
        return
    fi
    echo "everything works"
}

row() { # PART FLAVOUR WITHOUT REST...
    part=$1 flavour=$2 without=$3
    shift 3
    if give $part $flavour "$@"; then said=$(look); else said="the part is never ready; $(look)"; fi
    echo "| weft-$part | $flavour | $without | $said | $(complaint $part) |"
    $try delete pod fresh --wait --ignore-not-found >/dev/null
}

begin
echo "| part | iptables | without | what fails | the part says |"
echo "|---|---|---|---|---|"
row agent auto nothing SYS_ADMIN NET_ADMIN NET_RAW
row agent auto SYS_ADMIN NET_ADMIN NET_RAW
row agent nft NET_ADMIN SYS_ADMIN NET_RAW
row agent nft NET_RAW SYS_ADMIN NET_ADMIN
row agent legacy NET_RAW SYS_ADMIN NET_ADMIN
give agent auto SYS_ADMIN NET_ADMIN NET_RAW
row proxy auto SYS_ADMIN NET_ADMIN
row proxy auto NET_ADMIN SYS_ADMIN
give proxy auto SYS_ADMIN NET_ADMIN
kubectl delete namespace weft-try --wait >/dev/null
