//! The containers that redirect connections to the proxy, or prove that somebody else has; and the one with tools.

use serde_json::{Value, json};

use crate::{
    image::Program,
    sidecar::resources,
    template::{DEBUG, INIT, Template, VALIDATOR},
    values::Values,
};

/// What the init container cannot do without.
const NEEDED: [&str; 2] = ["NET_ADMIN", "NET_RAW"];
const NOBODY: u32 = 65534;

/// The init container that redirects.
pub(crate) fn init(values: &Values, pod: Template<'_>) -> Value {
    let init = &values.proxy_init;
    let Program { image, pull_policy, command } = Program::init(values);
    let mut mounts = vec![json!({"mountPath": init.xt_mount_path.mount_path, "name": init.xt_mount_path.name})];
    mounts.extend(pod.token_mount().cloned());
    let mut container = json!({
        "name": INIT,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": command,
        "args": arguments(values),
        "securityContext": init_security_context(values, pod),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    });
    if let Some(resources) = resources(&values.proxy.resources) {
        container["resources"] = resources;
    }
    container
}

/// The volume in which iptables keeps its lock.
pub(crate) fn volume(values: &Values) -> Value {
    json!({"name": values.proxy_init.xt_mount_path.name, "emptyDir": {}})
}

fn arguments(values: &Values) -> Vec<String> {
    let (init, proxy) = (&values.proxy_init, &values.proxy);
    let mut arguments: Vec<String> = Vec::new();
    let mut option = |name: &str, value: &dyn ToString| arguments.extend([name.to_owned(), value.to_string()]);
    if init.iptables_mode == "nft" {
        option("--firewall-bin-path", &"iptables-nft");
        option("--firewall-save-bin-path", &"iptables-nft-save");
    }
    if values.disable_ipv6 {
        arguments.push("--ipv6=false".to_owned());
    }
    let mut option = |name: &str, value: &dyn ToString| arguments.extend([name.to_owned(), value.to_string()]);
    option("--incoming-proxy-port", &proxy.ports.inbound);
    option("--outgoing-proxy-port", &proxy.ports.outbound);
    option("--proxy-uid", &proxy.uid);
    if proxy.gid >= 0 {
        option("--proxy-gid", &proxy.gid);
    }
    let own = format!("{},{}", proxy.ports.control, proxy.ports.admin);
    let inbound = match init.ignore_inbound_ports.as_str() {
        "" => own,
        more => format!("{own},{more}"),
    };
    option("--inbound-ports-to-ignore", &inbound);
    if !init.ignore_outbound_ports.is_empty() {
        option("--outbound-ports-to-ignore", &init.ignore_outbound_ports);
    }
    if init.close_wait_timeout_secs > 0 {
        option("--timeout-close-wait-secs", &init.close_wait_timeout_secs);
    }
    for (name, value) in [("--log-format", &init.log_format), ("--log-level", &init.log_level), ("--subnets-to-ignore", &init.skip_subnets)]
    {
        if !value.is_empty() {
            option(name, value);
        }
    }
    arguments
}

fn init_security_context(values: &Values, pod: Template<'_>) -> Value {
    let init = &values.proxy_init;
    // The kernel's setting can only be written by a container that may do everything.
    let privileged = init.privileged || init.close_wait_timeout_secs > 0;
    let user = |id: u32| {
        if init.run_as_root {
            0
        } else if id == 0 {
            NOBODY
        } else {
            id
        }
    };
    let of_first = |which: &str| -> Vec<&str> {
        let list = pod.first().and_then(|container| container.pointer("/securityContext/capabilities")?.get(which)?.as_array());
        list.into_iter().flatten().filter_map(Value::as_str).filter(|name| !NEEDED.contains(name)).collect()
    };
    let added = [&NEEDED[..], &of_first("add")].concat();
    let mut capabilities = json!({ "add": added });
    let dropped = of_first("drop");
    if !dropped.is_empty() {
        capabilities["drop"] = json!(dropped);
    }
    json!({
        "allowPrivilegeEscalation": privileged,
        "capabilities": capabilities,
        "privileged": privileged,
        "readOnlyRootFilesystem": true,
        "runAsGroup": user(init.run_as_group),
        "runAsNonRoot": !init.run_as_root,
        "runAsUser": user(init.run_as_user),
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The init container that fails unless the CNI plugin has redirected.
pub(crate) fn validator(values: &Values, pod: Template<'_>) -> Value {
    let validator = &values.network_validator;
    let Program { image, pull_policy, command } = Program::validator(values);
    let or = |given: &str, v4: &str, v6: &str| match given {
        "" if values.disable_ipv6 => v4.to_owned(),
        "" => v6.to_owned(),
        given => given.to_owned(),
    };
    let port = values.proxy.ports.outbound;
    let arguments = [
        "--log-format".to_owned(),
        validator.log_format.clone(),
        "--log-level".to_owned(),
        validator.log_level.clone(),
        "--connect-addr".to_owned(),
        or(&validator.connect_addr, "1.1.1.1:20001", "[fd00::1]:20001"),
        "--listen-addr".to_owned(),
        or(&validator.listen_addr, &format!("0.0.0.0:{port}"), &format!("[::]:{port}")),
        "--timeout".to_owned(),
        validator.timeout.clone(),
    ];
    let mut container = json!({
        "name": VALIDATOR,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": command,
        "args": arguments,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if validator.enable_security_context {
        container["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsGroup": NOBODY,
            "runAsNonRoot": true,
            "runAsUser": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
    }
    if let Some(resources) = resources(&values.proxy.resources) {
        container["resources"] = resources;
    }
    if let Some(mount) = pod.token_mount() {
        container["volumeMounts"] = json!([mount]);
    }
    container
}

/// The container with tools.
pub(crate) fn debug(values: &Values) -> Value {
    let Program { image, pull_policy, .. } = Program::debug(values);
    let probe = json!({"exec": {"command": ["true"]}});
    json!({
        "name": DEBUG,
        "image": image,
        "imagePullPolicy": pull_policy,
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_containers_rights_never_take_away_what_redirection_needs() {
        let pod = json!({"spec": {"containers": [{"securityContext": {"capabilities": {"add": ["NET_RAW", "SYS_TIME"], "drop": ["ALL", "NET_ADMIN"]}}}]}});
        let init = init(&Values::default(), Template::new(&pod));
        assert_eq!(init["securityContext"]["capabilities"], json!({"add": ["NET_ADMIN", "NET_RAW", "SYS_TIME"], "drop": ["ALL"]}));
    }

    #[test]
    fn arguments_follow_the_values_in_their_order() {
        let mut values = Values { disable_ipv6: false, ..Values::default() };
        assert_eq!(
            arguments(&values).join(" "),
            "--firewall-bin-path iptables-nft --firewall-save-bin-path iptables-nft-save --incoming-proxy-port 4143 --outgoing-proxy-port 4140 \
             --proxy-uid 2102 --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568"
        );
        values.disable_ipv6 = true;
        values.proxy.gid = 7;
        let init = &mut values.proxy_init;
        "legacy".clone_into(&mut init.iptables_mode);
        init.ignore_inbound_ports.clear();
        init.ignore_outbound_ports.clear();
        init.close_wait_timeout_secs = 3;
        "10.0.0.0/8".clone_into(&mut init.skip_subnets);
        assert_eq!(
            arguments(&values).join(" "),
            "--ipv6=false --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 --proxy-gid 7 \
             --inbound-ports-to-ignore 4190,4191 --timeout-close-wait-secs 3 --subnets-to-ignore 10.0.0.0/8"
        );
    }

    #[test]
    fn root_is_run_as_only_when_asked_for_and_closing_needs_every_privilege() {
        let mut values = Values::default();
        values.proxy_init.run_as_user = 0;
        let pod = json!({});
        let context = init_security_context(&values, Template::new(&pod));
        assert_eq!((&context["runAsUser"], &context["runAsNonRoot"], &context["privileged"]), (&json!(65534), &json!(true), &json!(false)));
        values.proxy_init.run_as_root = true;
        values.proxy_init.close_wait_timeout_secs = 1;
        let context = init_security_context(&values, Template::new(&pod));
        assert_eq!((&context["runAsUser"], &context["runAsNonRoot"], &context["privileged"]), (&json!(0), &json!(false), &json!(true)));
    }
}
