//! `mesh profile`: a ServiceProfile of what is known of a service otherwise.

mod open_api;
mod proto;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    access::{self, Access},
    answer::answer,
    cluster,
    inject::Output,
    install,
};

/// `mesh profile`.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["template", "open_api", "proto"])))]
pub(crate) struct Profile {
    /// Name of the service
    #[arg(value_parser = label)]
    service: String,
    /// Writes one to be filled in
    #[arg(long)]
    template: bool,
    /// Reads an OpenAPI (Swagger 2) file, or - for standard input
    #[arg(long, value_name = "FILE")]
    open_api: Option<PathBuf>,
    /// Reads a protobuf file, or - for standard input
    #[arg(long, value_name = "FILE")]
    proto: Option<PathBuf>,
    /// Namespace of the service
    #[arg(short, long, default_value = "default", value_parser = access::namespace)]
    namespace: String,
    /// Does not ask the cluster for its domain, but takes cluster.local
    #[arg(long)]
    ignore_cluster: bool,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

impl Profile {
    /// Writes the profile.
    ///
    /// # Errors
    /// The source cannot be read, or the cluster does not answer.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        let domain = self.domain().await?;
        let name = format!("{}.{}.svc.{domain}", self.service, self.namespace);
        if self.template {
            return answer(&template(&name, &self.namespace));
        }
        let routes = match (&self.open_api, &self.proto) {
            (Some(path), _) => read(path).and_then(|text| open_api::routes(&text).map_err(|error| format!("{}: {error}", path.display()))),
            (_, Some(path)) => read(path).and_then(|text| proto::routes(&text).map_err(|error| format!("{}: {error}", path.display()))),
            _ => Ok(Vec::new()),
        };
        let routes = routes.map_err(|error| vec![error])?;
        install::write(&[profile(&name, &self.namespace, routes)], self.output)
    }

    async fn domain(&self) -> Result<String, Vec<String>> {
        if self.ignore_cluster {
            return Ok("cluster.local".to_owned());
        }
        let hint = "if there is no cluster, say --ignore-cluster".to_owned();
        match cluster::values(&cluster::connect(&self.access), &self.access.linkerd_namespace).await {
            Ok(values) => Ok(values.map_or_else(|| "cluster.local".to_owned(), |values| values.text("clusterDomain"))),
            Err(error) => Err(vec![error.to_string(), hint]),
        }
    }
}

fn profile(name: &str, namespace: &str, routes: Vec<Value>) -> Value {
    json!({"apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile", "metadata": {"name": name, "namespace": namespace}, "spec": {"routes": routes}})
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") { io::stdin().lock().read_to_string(&mut text).map(|_| text) } else { fs::read_to_string(path) };
    read.map_err(|error| format!("{}: {error}", path.display()))
}

fn label(text: &str) -> Result<String, String> {
    let inner = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let fits = inner && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-') && text.len() <= 63;
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no name of a service (a small letter, then small letters, digits and -)"))
    }
}

/// Text with everything that an expression would understand escaped, as Go does it.
fn escape(text: &str) -> String {
    text.chars().flat_map(|c| (r"\.+*?()|[]{}^$".contains(c)).then_some('\\').into_iter().chain([c])).collect()
}

fn template(name: &str, namespace: &str) -> String {
    format!(
        r#"# What is known of the routes of {name}.
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata:
  name: {name}
  namespace: {namespace}
spec:
  # The first route whose condition holds is that of a request.
  routes:
  - name: '/authors/{{id}}'
    # All that is said must hold: pathRegex (for the whole path), method, all (a list), any (a list), not (a condition).
    condition:
      pathRegex: '/authors/\d+'
      method: POST
    # Failed requests may be sent again, within the budget below.
    isRetryable: true
    # The longest time to a response, with retries. 10s unless said.
    timeout: 300ms
    # The first class whose condition holds says whether a response is a failure. Without one, 5xx is.
    responseClasses:
    - condition:
        status:
          min: 500
          max: 599
      isFailure: true
  - name: everything else of an author
    condition:
      all:
      - pathRegex: '/authors/.*'
      - not:
          method: POST
      - any:
        - method: GET
        - method: HEAD
  # How many retries there may be for all routes together.
  retryBudget:
    # Retries for each request.
    retryRatio: 0.2
    # So many there may always be.
    minRetriesPerSecond: 10
    # How long a request counts.
    ttl: 10s
"#
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use meshkit_manifest::{Manifest, Object};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        profile: Profile,
    }

    fn admitted(text: &str) -> usize {
        let manifest = Manifest::parse(Path::new("profile.yaml"), text).unwrap();
        let Object::ServiceProfile(profile) = &manifest.objects[0] else { panic!("{text}") };
        assert_eq!(profile.metadata.name, "web.emojivoto.svc.cluster.local");
        profile.spec.routes.len()
    }

    #[test]
    fn what_is_written_is_admitted() {
        assert_eq!(admitted(&template("web.emojivoto.svc.cluster.local", "emojivoto")), 2);
        let routes = proto::routes("service Web { rpc Get(A) returns (B); }").unwrap();
        let written = profile("web.emojivoto.svc.cluster.local", "emojivoto", routes);
        assert_eq!(admitted(&written.to_string()), 1);
    }

    #[test]
    fn there_is_one_source() {
        for words in [
            &["web"][..],
            &["web", "--template", "--proto=x"],
            &["Web", "--template"],
            &["1web", "--template"],
            &["web", "--template", "-n", "a.b"],
        ] {
            assert!(Alone::try_parse_from([&["profile"], words].concat()).is_err(), "{words:?}");
        }
        assert!(Alone::try_parse_from(["profile", "web", "--template", "-n", "emojivoto", "--ignore-cluster"]).is_ok());
    }

    #[test]
    fn expressions_are_escaped() {
        assert_eq!(escape("/a.b/{c}?d"), r"/a\.b/\{c\}\?d");
    }
}
