{{/* Labels of an object of part .part; the selector's are a part of them and never change. */}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: weft-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "weft.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}weft-{{ .part }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Where Prometheus finds the metrics of a pod; .port is the port. */}}
{{- define "weft.scrape" -}}
{{- if .root.Values.metrics.annotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end }}

{{/* Environment of all parts. */}}
{{- define "weft.environment" -}}
- {name: WEFT_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: WEFT_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
{{- end }}

{{/* Environment of the parts on every node. */}}
{{- define "weft.nodeEnvironment" -}}
{{ include "weft.environment" . }}
- name: WEFT_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- {name: WEFT_OPERATOR, value: {{ printf "http://weft-operator.%s.svc.%s:15012" .Release.Namespace .Values.clusterDomain | quote }}}
- {name: WEFT_TOKEN_FILE, value: /run/secrets/weft/token}
{{- end }}

{{/* The token that tells the operator on which node a part runs; it is good for nothing else. */}}
{{- define "weft.tokenVolume" -}}
- name: token
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken: {audience: weft, expirationSeconds: 3600, path: token}
{{- end }}
