//! The files of the charts.

use meshkit_injector::documents;
use serde_json::Value;

use super::{
    cni,
    expressions::{Expressions, namespace},
    variants::{self, MERGED},
};
use crate::{
    install::{WEBHOOKS, crds},
    values::{DEFAULTS, HIGH_AVAILABILITY},
    version::CLIENT,
};

const CRDS: &str = "meshkit-crds";
const CONTROL_PLANE: &str = "meshkit-control-plane";

/// Functions of the templates: what containers may use as Kubernetes says it, and the values as the injector reads them.
const HELPERS: &str = r#"{{- define "meshkit.resources" -}}
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
"#;

/// Every file of every chart, with its path.
///
/// # Errors
/// The objects cannot be made.
pub(crate) fn files() -> Result<Vec<(String, String)>, String> {
    let mut files = vec![
        (format!("{CRDS}/Chart.yaml"), chart(CRDS, "The kinds of the mesh")),
        (format!("{CRDS}/values.yaml"), "{}\n".to_owned()),
        (format!("{CONTROL_PLANE}/Chart.yaml"), chart(CONTROL_PLANE, "The control plane of the mesh")),
        (format!("{CONTROL_PLANE}/values.yaml"), DEFAULTS.to_owned()),
        (format!("{CONTROL_PLANE}/values-ha.yaml"), HIGH_AVAILABILITY.to_owned()),
        (format!("{CONTROL_PLANE}/templates/_helpers.tpl"), HELPERS.to_owned()),
    ];
    files.extend(kinds()?);
    files.extend(control_plane()?);
    files.extend(cni::files()?);
    Ok(files)
}

pub(super) fn chart(name: &str, description: &str) -> String {
    format!(
        "apiVersion: v2\nname: {name}\ndescription: {description}\ntype: application\nversion: {CLIENT}\nappVersion: {CLIENT}\nkubeVersion: \">=1.31.0-0\"\n"
    )
}

fn kinds() -> Result<Vec<(String, String)>, String> {
    let (mut expressions, _) = Expressions::new();
    let mut files = Vec::new();
    for mut crd in crds(&namespace(), &format!("linkerd/helm {CLIENT}"))? {
        expressions.replace(&mut crd);
        let name = crd["spec"]["names"]["plural"].as_str().unwrap_or_default().to_owned();
        files.push((format!("{CRDS}/templates/{name}.yaml"), document(&expressions, &crd)?));
    }
    Ok(files)
}

fn control_plane() -> Result<Vec<(String, String)>, String> {
    let (mut expressions, tree) = Expressions::new();
    let created_by = format!("linkerd/helm {}", tree.text("linkerdVersion"));
    let mut templates: Vec<(&str, String)> = Vec::new();
    for mut object in variants::objects(&mut expressions, tree, &created_by)? {
        let (Some(file), condition) = (file(&object), condition(&object)) else { continue };
        resources(&mut expressions, &mut object);
        if object["metadata"]["name"] == "linkerd-config" {
            object["data"]["values"] = expressions.token("{{ include \"meshkit.values\" . | toJson }}".to_owned());
        }
        let mut text = document(&expressions, &object)?;
        if let Some(condition) = condition {
            text = format!("{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n");
        }
        let text = format!("---\n{text}");
        match templates.iter_mut().find(|(known, _)| *known == file) {
            Some((_, all)) => all.push_str(&text),
            None => templates.push((file, if file == "webhooks" { certificates() + &text } else { text })),
        }
    }
    Ok(templates.into_iter().map(|(file, text)| (format!("{CONTROL_PLANE}/templates/{file}.yaml"), text)).collect())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The template that an object stands in; nothing for what Helm makes or remembers itself.
fn file(object: &Value) -> Option<&'static str> {
    let name = text(object, "/metadata/name");
    Some(match text(object, "/kind") {
        "Namespace" => return None,
        _ if name == "linkerd-config-overrides" => return None,
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" | "ServiceAccount" => "rbac",
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => "webhooks",
        "Secret" if name.ends_with("-k8s-tls") => "webhooks",
        "ConfigMap" if name == "linkerd-config" => "config",
        _ => match object["metadata"]["labels"]["linkerd.io/control-plane-component"].as_str() {
            Some("identity") => "identity",
            Some("destination") => "destination",
            _ => "proxy-injector",
        },
    })
}

/// When an object is there, if not always.
fn condition(object: &Value) -> Option<String> {
    let name = text(object, "/metadata/name");
    let webhook = WEBHOOKS.into_iter().find(|webhook| webhook.secret() == name);
    match (text(object, "/kind"), name, webhook) {
        ("Secret", _, Some(webhook)) => Some(format!("not .Values.{}.externalSecret", webhook.values)),
        ("Secret", "linkerd-identity-issuer", _) => Some("eq .Values.identity.issuer.scheme \"linkerd.io/tls\"".to_owned()),
        ("ConfigMap", "linkerd-identity-trust-roots", _) => Some("not .Values.identity.externalCA".to_owned()),
        ("PodDisruptionBudget", ..) => Some(".Values.enablePodDisruptionBudget".to_owned()),
        _ => None,
    }
}

/// What containers may use follows from values whose shape is another.
fn resources(expressions: &mut Expressions, object: &mut Value) {
    for list in ["containers", "initContainers"] {
        let pointer = format!("/spec/template/spec/{list}");
        for container in object.pointer_mut(&pointer).and_then(Value::as_array_mut).into_iter().flatten() {
            let path = match container["name"].as_str() {
                // The first init container has another name with the CNI plugin: what redirects and what proves it are alike in this.
                Some(name) if list == "initContainers" && name != "linkerd-proxy" => "proxy.resources",
                Some("linkerd-proxy") => "proxy.resources",
                Some("identity") => "identityResources",
                Some("destination") => "destinationResources",
                Some("sp-validator") => "spValidatorResources",
                Some("policy") => "policyController.resources",
                Some("proxy-injector") => "proxyInjectorResources",
                _ => continue,
            };
            container["resources"] = expressions.token(format!("{{{{ include \"meshkit.resources\" .Values.{path} }}}}"));
        }
    }
}

/// Keys and certificates of webhooks: those of the values, or new ones.
fn certificates() -> String {
    let mut text = String::new();
    for webhook in WEBHOOKS {
        let (values, name) = (webhook.values, webhook.name);
        text += &format!(
            "{{{{- $host := printf \"linkerd-{name}.%s.svc\" .Release.Namespace }}}}\n\
             {{{{- $ca := genCA (printf \"ca.%s\" $host) 365 }}}}\n\
             {{{{- $made := genSignedCert $host (list) (list $host) 365 $ca }}}}\n\
             {{{{- ${values} := dict \"crtPEM\" $made.Cert \"keyPEM\" $made.Key \"caBundle\" $ca.Cert }}}}\n\
             {{{{- if .Values.{values}.crtPEM }}}}\n\
             {{{{- ${values} = pick .Values.{values} \"crtPEM\" \"keyPEM\" \"caBundle\" }}}}\n\
             {{{{- end }}}}\n",
        );
    }
    text
}

/// A document as the text of a template.
pub(super) fn document(expressions: &Expressions, object: &Value) -> Result<String, String> {
    let text = documents::write(std::slice::from_ref(object), documents::Format::Yaml).map_err(|error| error.to_string())?;
    let text = expressions.resolve(text.trim_end_matches("---\n"));
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        let merged = MERGED.iter().find(|(_, key)| line.trim_start().starts_with(&format!("{key}:")));
        match merged {
            None => lines.push_str(line),
            Some((path, _)) => {
                let indent = line.len() - line.trim_start().len();
                lines += &format!("{{{{- with .Values.{path} }}}}\n{{{{- toYaml . | nindent {indent} }}}}\n{{{{- end }}}}");
            }
        }
        lines.push('\n');
    }
    Ok(lines)
}
