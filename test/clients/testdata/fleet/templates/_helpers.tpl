{{- define "fleet.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "fleet.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fleet.resources" -}}
requests: {cpu: 10m, memory: 8Mi}
limits: {cpu: 200m, memory: 64Mi}
{{- end }}
