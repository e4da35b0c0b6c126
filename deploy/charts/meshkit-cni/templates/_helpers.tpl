{{- define "meshkit-cni.configuration" -}}
{{- $ignored := list (toString .Values.proxyControlPort) (toString .Values.proxyAdminPort) -}}
{{- range splitList "," (toString .Values.ignoreInboundPorts) -}}
{{- if . -}}{{- $ignored = append $ignored . -}}{{- end -}}
{{- end -}}
{{- $outbound := list -}}
{{- range splitList "," (toString .Values.ignoreOutboundPorts) -}}
{{- if . -}}{{- $outbound = append $outbound . -}}{{- end -}}
{{- end -}}
{{- $redirected := list -}}
{{- range splitList "," (toString .Values.portsToRedirect) -}}
{{- if regexMatch "^[0-9]+$" . -}}{{- $redirected = append $redirected (int .) -}}{{- end -}}
{{- end -}}
{{- $linkerd := dict
  "incoming-proxy-port" (int .Values.inboundProxyPort)
  "outgoing-proxy-port" (int .Values.outboundProxyPort)
  "proxy-uid" (int64 .Values.proxyUID)
  "ports-to-redirect" $redirected
  "inbound-ports-to-ignore" $ignored
  "simulate" false
  "use-wait-flag" .Values.useWaitFlag
  "iptables-mode" .Values.iptablesMode
  "ipv6" (not .Values.disableIPv6) -}}
{{- if ge (int64 .Values.proxyGID) 0 -}}{{- $_ := set $linkerd "proxy-gid" (int64 .Values.proxyGID) -}}{{- end -}}
{{- if $outbound -}}{{- $_ := set $linkerd "outbound-ports-to-ignore" $outbound -}}{{- end -}}
{{- toPrettyJson (dict
  "name" "linkerd-cni"
  "type" "linkerd-cni"
  "log_level" .Values.logLevel
  "kubernetes" (dict "kubeconfig" "__KUBECONFIG_FILEPATH__")
  "linkerd" $linkerd) -}}
{{- end -}}
