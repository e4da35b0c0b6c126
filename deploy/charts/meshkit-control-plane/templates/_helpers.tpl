{{- define "meshkit.resources" -}}
{{- $all := . -}}
{{- $out := dict -}}
{{- range $bound, $key := dict "limit" "limits" "request" "requests" -}}
{{- $said := dict -}}
{{- range $resource, $bounds := $all -}}
{{- with index $bounds $bound -}}{{- $_ := set $said $resource . -}}{{- end -}}
{{- end -}}
{{- if $said -}}{{- $_ := set $out $key $said -}}{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{- define "meshkit.values" -}}
{{- $values := deepCopy .Values -}}
{{- $_ := set $values.identity.issuer.tls "keyPEM" "" -}}
{{- range list "proxyInjector" "profileValidator" "policyValidator" -}}
{{- $_ := set (index $values .) "keyPEM" "" -}}
{{- end -}}
{{- $_ := set $values "identityTrustDomain" (default .Values.clusterDomain .Values.identityTrustDomain) -}}
{{- $_ := set $values "linkerdVersion" (default .Chart.AppVersion .Values.linkerdVersion) -}}
{{- toYaml (omit $values "global") -}}
{{- end -}}
