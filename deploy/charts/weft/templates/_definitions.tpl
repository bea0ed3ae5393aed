{{/*
Which definitions are rendered, and which are left alone and why, as JSON: {rendered: [KIND/NAME], left: [TEXT]}. Istio's
are judged one by one; the Gateway API's are one whole, for its channels and versions must not be mixed.
*/}}
{{- define "weft.definitions" -}}
{{- $rendered := list }}
{{- $left := list }}
{{- if dig "install" true (.Values.istioAPI | default dict) }}
{{- range include "weft.definitionsIn" (dict "root" $ "file" "files/definitions.yaml") | fromJsonArray }}
{{- if eq .is "theirs" }}
{{- $left = append $left (printf "%s: %s" .name .why) }}
{{- else }}
{{- $rendered = append $rendered (printf "%s/%s" .kind .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if dig "install" true (.Values.gatewayAPI | default dict) }}
{{- $ours := list }}
{{- $theirs := include "weft.otherGatewayKinds" . | fromJsonArray }}
{{- range include "weft.definitionsIn" (dict "root" $ "file" "files/gateway-api.yaml") | fromJsonArray }}
{{- if ne .is "theirs" }}
{{- $ours = append $ours (printf "%s/%s" .kind .name) }}
{{- else if eq .kind "CustomResourceDefinition" }}
{{- $theirs = append $theirs (printf "%s: %s" .name .why) }}
{{- end }}
{{- end }}
{{- if $theirs }}
{{- $left = concat $left $theirs }}
{{- else }}
{{- $rendered = concat $rendered $ours }}
{{- end }}
{{- end }}
{{- include "weft.refuseDeletion" (dict "root" $ "rendered" $rendered) }}
{{- dict "rendered" $rendered "left" $left | toJson }}
{{- end }}

{{/* Every object of a file as the cluster has it, as JSON: [{kind, name, is: absent|ours|theirs, why}]. */}}
{{- define "weft.definitionsIn" -}}
{{- $found := list }}
{{- range regexSplit "(?m)^---$" (.root.Files.Get .file) -1 }}
{{- $object := fromYaml . }}
{{- if $object.kind }}
{{- $name := $object.metadata.name }}
{{- $live := lookup $object.apiVersion $object.kind "" $name }}
{{- $entry := dict "kind" $object.kind "name" $name "is" "absent" }}
{{- if $live }}
{{- $why := include "weft.notOurs" (dict "root" $.root "live" $live "object" $object) }}
{{- $entry = dict "kind" $object.kind "name" $name "is" (ternary "theirs" "ours" (ne $why "")) "why" $why }}
{{- end }}
{{- $found = append $found $entry }}
{{- end }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{/* Why the cluster's object .live is not this release's to change; empty when it is. */}}
{{- define "weft.notOurs" -}}
{{- $annotations := dig "metadata" "annotations" (dict) .live }}
{{- $by := dig "metadata" "labels" "app.kubernetes.io/managed-by" "" .live }}
{{- $release := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- $channel := get $annotations "gateway.networking.k8s.io/channel" }}
{{- $version := get $annotations "gateway.networking.k8s.io/bundle-version" }}
{{- $shipped := dig "metadata" "annotations" "gateway.networking.k8s.io/bundle-version" "" .object }}
{{- /* What another manager of fields has set, helm would not overwrite: the whole upgrade would fail. */}}
{{- $changed := "" }}
{{- range dig "metadata" "managedFields" (list) .live }}
{{- if and (not (contains "helm" .manager)) (hasKey (.fieldsV1 | default dict) "f:spec") }}
{{- $changed = .manager }}
{{- end }}
{{- end }}
{{- if or (ne $by "Helm") (ne $release .root.Release.Name) (ne $namespace .root.Release.Namespace) -}}
{{ with $release }}helm has installed it as part of release {{ . }} in {{ $namespace }}{{ else }}somebody else has installed it{{ end }}
{{- else if $changed -}}
{{ $changed }} has changed it
{{- else if not $shipped }}
{{- else if ne $channel "standard" -}}
its channel is {{ $channel | default "unknown" }}
{{- else if not (regexMatch "^v[0-9]+\\.[0-9]+\\.[0-9]+$" $version) -}}
its version is {{ $version | default "unknown" }}
{{- else if semverCompare (printf ">%s" (trimPrefix "v" $shipped)) (trimPrefix "v" $version) -}}
its version is {{ $version }}
{{- end }}
{{- end }}

{{/*
Kinds of the Gateway API's groups that are served and not of the channel that we bring, as JSON. XMesh alone, without the
mark of a channel, stands beside the standard one.
*/}}
{{- define "weft.otherGatewayKinds" -}}
{{- $known := list }}
{{- range regexSplit "(?m)^---$" (.Files.Get "files/gateway-api.yaml") -1 }}
{{- $object := fromYaml . }}
{{- $known = append $known (dig "spec" "names" "kind" "" $object) }}
{{- end }}
{{- $others := list }}
{{- range .Capabilities.APIVersions }}
{{- $words := splitList "/" . }}
{{- $group := first $words }}
{{- if and (eq (len $words) 3) (has $group (list "gateway.networking.k8s.io" "gateway.networking.x-k8s.io")) }}
{{- $kind := last $words }}
{{- $alone := false }}
{{- if eq $kind "XMesh" }}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "xmeshes.gateway.networking.x-k8s.io" }}
{{- $alone = not (hasKey (dig "metadata" "annotations" (dict) $live) "gateway.networking.k8s.io/channel") }}
{{- end }}
{{- if not (or $alone (has $kind $known)) }}
{{- $others = append $others (printf "%s of %s: somebody else has installed it" $kind $group) }}
{{- end }}
{{- end }}
{{- end }}
{{- $others | uniq | toJson }}
{{- end }}

{{/*
helm deletes what the last revision had and this one has not, unless the cluster's object says keep. Ours say so; one that
somebody has put in the place of ours does not, and all routes would go with it.
*/}}
{{- define "weft.refuseDeletion" -}}
{{- $record := lookup "v1" "ConfigMap" .root.Release.Namespace "weft-definitions" }}
{{- range splitList "," (dig "data" "rendered" "" $record) }}
{{- if and . (not (has . $.rendered)) }}
{{- $kind := splitList "/" . | first }}
{{- $name := splitList "/" . | last }}
{{- $version := ternary "apiextensions.k8s.io/v1" "admissionregistration.k8s.io/v1" (eq $kind "CustomResourceDefinition") }}
{{- $live := lookup $version $kind "" $name }}
{{- if and $live (ne (dig "metadata" "annotations" "helm.sh/resource-policy" "" $live) "keep") }}
{{- $do := printf "kubectl annotate %s %s helm.sh/resource-policy=keep" (lower $kind) $name }}
{{- fail (printf "\n%s %s has been replaced by somebody else's; helm would now delete it, and all objects of its kind with it. First: %s" $kind $name $do) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
