{{- define "mainstay-node.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "mainstay-node.account" -}}
{{- .Values.serviceAccount.name | default (include "mainstay-node.name" .) -}}
{{- end -}}
{{- define "mainstay-node.labels" -}}
app.kubernetes.io/name: mainstay-node
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
