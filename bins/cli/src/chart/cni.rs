//! The chart of the CNI plugin: the objects of `mesh install-cni`.

use serde_json::json;

use super::{
    expressions::{Expressions, namespace},
    files::{chart, document},
};
use crate::{
    install::cni::{default_values, objects},
    version::CLIENT,
};

const NAME: &str = "meshkit-cni";

/// Values that show up within texts.
const TEXTS: [&str; 5] = ["destCNIBinDir", "destCNINetDir", "image.name", "image.pullPolicy", "image.version"];
/// Values that go through whole, whatever they are.
const WHOLE: [&str; 5] = ["imagePullSecrets", "priorityClassName", "privileged", "tolerations", "updateStrategy"];

/// What the plugin is told on each node follows from values whose shape is another.
const HELPERS: &str = r#"{{- define "meshkit-cni.configuration" -}}
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
"#;

/// Every file, with its path.
pub(super) fn files() -> Result<Vec<(String, String)>, String> {
    let values = default_values()?;
    let mut tree = values.clone();
    let mut expressions = Expressions::of(&mut tree, &TEXTS);
    for path in WHOLE {
        tree.set(path, expressions.token(format!("{{{{ .Values.{path} | toJson }}}}")));
    }
    // An empty name is none.
    tree.set("priorityClassName", expressions.token("{{ .Values.priorityClassName | default nil | toJson }}".to_owned()));
    let mut text = String::new();
    for mut object in objects(&tree, &namespace(), &format!("linkerd/helm {CLIENT}")) {
        if object["kind"] == "Namespace" {
            continue;
        }
        if object["kind"] == "ConfigMap" {
            object["data"]["cni_network_config"] = json!("");
            expressions.replace(&mut object);
            object["data"]["cni_network_config"] = expressions.token("{{ include \"meshkit-cni.configuration\" . | toJson }}".to_owned());
        } else {
            expressions.replace(&mut object);
        }
        text += &format!("---\n{}", document(&expressions, &object)?);
    }
    let values = values.to_yaml().map_err(|error| error.to_string())?;
    Ok(vec![
        (format!("{NAME}/Chart.yaml"), chart(NAME, "The CNI plugin of the mesh")),
        (format!("{NAME}/values.yaml"), values),
        (format!("{NAME}/templates/_helpers.tpl"), HELPERS.to_owned()),
        (format!("{NAME}/templates/cni.yaml"), text),
    ])
}
