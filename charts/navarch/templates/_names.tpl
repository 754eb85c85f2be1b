{{/* Names and parts that several templates share. */}}

{{- define "navarch.labels" -}}
app.kubernetes.io/name: {{ .service }}
app.kubernetes.io/part-of: navarch
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "navarch.store" -}}
{{ .Release.Name }}-store.{{ .Release.Namespace }}.svc:{{ .Values.store.port }}
{{- end }}

{{- define "navarch.environment" -}}
{{- with .Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}
