//! Keeps the plugin installed on a node: its program, its kubeconfig, and its place in the node's network configurations.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{
    NAME,
    kubeconfig::Access,
    list::{self, Edit},
};

/// How often the node's configurations are looked at. Polling sees every way in which files change.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a configuration; larger files are none.
const CONF_MAX: u64 = 1 << 20;
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What is installed where.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program that becomes the plugin.
    pub program: PathBuf,
    /// Folder of the node's plugins, as it is seen here.
    pub bin_dir: PathBuf,
    /// Folder of the node's network configurations, as it is seen here.
    pub net_dir: PathBuf,
    /// Path of the kubeconfig on the node.
    pub node_kubeconfig: PathBuf,
    /// The plugin's configuration; `__KUBECONFIG_FILEPATH__` stands for that path.
    pub template: String,
    /// The API server.
    pub server: String,
    /// File of the certificates that the server's must come from.
    pub ca_file: PathBuf,
    /// File of the token.
    pub token_file: PathBuf,
    /// Goes on until it is told to stop, and then cleans up; otherwise it installs and ends.
    pub stays: bool,
}

/// Variables that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    name: &'static str,
    reason: String,
}

/// The plugin could not be installed.
#[derive(Debug)]
pub struct InstallError {
    context: String,
    source: io::Error,
}

/// Installs by the settings.
#[derive(Debug)]
pub struct Installer {
    settings: Settings,
    plugin: Value,
    /// Files as they were when they were last looked at.
    seen: BTreeMap<String, Stamp>,
    access: Option<Access>,
    waits: bool,
}

/// Changes when a file is written or replaced.
type Stamp = (u64, u64, i64, i64);

impl Settings {
    /// Reads the variables of the DaemonSet. `program` is what becomes the plugin where `CONTAINER_CNI_BIN_DIR` has none.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub fn from_env(vars: impl IntoIterator<Item = (OsString, OsString)>, program: PathBuf) -> Result<Self, Vec<Fault>> {
        let vars: BTreeMap<String, String> =
            vars.into_iter().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        let var = |name: &str| vars.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let mut faults = Vec::new();

        let mount = var("CONTAINER_MOUNT_PREFIX").unwrap_or("/host");
        let seen_here = |dir: &str| PathBuf::from(format!("{mount}{dir}"));
        let net_dir = var("DEST_CNI_NET_DIR").unwrap_or("/etc/cni/net.d");
        let bin_dir = var("DEST_CNI_BIN_DIR").unwrap_or("/opt/cni/bin");
        let kubeconfig = var("KUBECONFIG_FILE_NAME").unwrap_or("ZZZ-linkerd-cni-kubeconfig");

        let template = match (var("CNI_NETWORK_CONFIG_FILE"), var("CNI_NETWORK_CONFIG")) {
            (Some(file), _) => fs::read_to_string(file)
                .map_err(|error| faults.push(Fault { name: "CNI_NETWORK_CONFIG_FILE", reason: format!("{file}: {error}") }))
                .unwrap_or_default(),
            (None, Some(text)) => text.to_owned(),
            (None, None) => {
                faults.push(Fault { name: "CNI_NETWORK_CONFIG", reason: "is not set".into() });
                String::new()
            }
        };
        if !template.is_empty()
            && let Err(error) = serde_json::from_str::<serde_json::Map<String, Value>>(&template)
        {
            faults.push(Fault { name: "CNI_NETWORK_CONFIG", reason: format!("is no configuration: {error}") });
        }
        let host = var("KUBERNETES_SERVICE_HOST").unwrap_or_else(|| {
            faults.push(Fault { name: "KUBERNETES_SERVICE_HOST", reason: "is not set: does this run in a pod?".into() });
            ""
        });
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let port = var("KUBERNETES_SERVICE_PORT").unwrap_or("443");
        let given = var("CONTAINER_CNI_BIN_DIR").map(|dir| Path::new(dir).join(NAME)).filter(|path| path.is_file());
        let settings = Self {
            program: given.unwrap_or(program),
            bin_dir: seen_here(bin_dir),
            net_dir: seen_here(net_dir),
            node_kubeconfig: Path::new(net_dir).join(kubeconfig),
            template,
            server: format!("https://{host}:{port}"),
            ca_file: var("KUBE_CA_FILE").map_or_else(|| Path::new(SERVICE_ACCOUNT).join("ca.crt"), PathBuf::from),
            token_file: Path::new(SERVICE_ACCOUNT).join("token"),
            stays: var("SLEEP").is_none_or(|value| value == "true"),
        };
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.net_dir.join(self.node_kubeconfig.file_name().unwrap_or_default())
    }
}

impl Installer {
    /// Ready to install.
    ///
    /// # Errors
    /// The template is no JSON object.
    pub fn new(settings: Settings) -> Result<Self, InstallError> {
        // The path goes in as JSON, whatever is in it.
        let path = Value::from(settings.node_kubeconfig.to_string_lossy()).to_string();
        let text = settings.template.replace("__KUBECONFIG_FILEPATH__", path.trim_matches('"'));
        let plugin = serde_json::from_str(&text).map_err(|error| failed("the plugin's configuration cannot be read")(error.into()))?;
        Ok(Self { settings, plugin, seen: BTreeMap::new(), access: None, waits: false })
    }

    /// Installs, and goes on until `stop`: other programs that rewrite a configuration find the plugin in it again, and a new token reaches it. Then it cleans up.
    ///
    /// # Errors
    /// The first installation failed, or the clean-up did.
    ///
    /// # Cancel safety
    /// What is installed stays, without anybody to look after it.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), InstallError> {
        self.place_program()?;
        self.refresh()?;
        if !self.settings.stays {
            return Ok(());
        }
        tokio::select! {
            () = stop => {}
            () = async {
                loop {
                    sleep(PAUSE).await;
                    if let Err(error) = self.refresh() {
                        // The node may be short of space, a folder may be mounted anew: the next round may do.
                        error!(error = %error.source, "{error}");
                    }
                }
            } => {}
        }
        self.remove()
    }

    /// Puts right what is not, once: the kubeconfig and every configuration.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn refresh(&mut self) -> Result<(), InstallError> {
        self.write_kubeconfig()?;
        let stamps = self.stamps()?;
        if stamps == self.seen {
            return Ok(());
        }
        if stamps.is_empty() && !self.waits {
            info!(folder = %self.settings.net_dir.display(), "no network configuration yet: waiting for one");
        }
        self.waits = stamps.is_empty();
        let changed: Vec<_> =
            stamps.iter().filter(|(name, stamp)| self.seen.get(*name) != Some(*stamp)).map(|(name, _)| name.clone()).collect();
        for name in changed {
            self.edit(&name, |name, text| list::insert(name, text, &self.plugin))?;
        }
        // Own writes are no news; what others wrote meanwhile under the same names is seen once more at worst.
        self.seen = stamps;
        for (name, stamp) in self.stamps()? {
            if self.is_inserted(&name) {
                self.seen.insert(name, stamp);
            }
        }
        Ok(())
    }

    /// Takes everything back: first out of the configurations, so that none names what is gone.
    ///
    /// # Errors
    /// A file cannot be read, written or removed. The others are.
    pub fn remove(&mut self) -> Result<(), InstallError> {
        let mut result = Ok(());
        for name in self.stamps()?.into_keys() {
            result = result.and(self.edit(&name, list::remove));
        }
        for path in [self.settings.kubeconfig(), self.settings.bin_dir.join(NAME)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    result = result.and(Err(failed(format!("cannot remove {}", path.display()))(error)))
                }
                _ => info!(path = %path.display(), "removed"),
            }
        }
        result
    }

    fn place_program(&self) -> Result<(), InstallError> {
        let (from, to) = (&self.settings.program, self.settings.bin_dir.join(NAME));
        let temporary = beside(&to);
        // Beside and renamed: a program that runs cannot be written to.
        fs::copy(from, &temporary)
            .and_then(|_| fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&temporary, &to))
            .map_err(failed(format!("cannot copy {} to {}", from.display(), to.display())))?;
        info!(path = %to.display(), "wrote the plugin");
        Ok(())
    }

    fn write_kubeconfig(&mut self) -> Result<(), InstallError> {
        let Settings { ca_file, token_file, server, .. } = &self.settings;
        let read = |path: &Path| fs::read(path).map_err(failed(format!("cannot read {}", path.display())));
        let token = String::from_utf8_lossy(&read(token_file)?).trim().to_owned();
        let access = Access { server: server.clone(), certificate_authority: read(ca_file)?, token };
        let path = self.settings.kubeconfig();
        if self.access.as_ref() == Some(&access) && path.exists() {
            return Ok(());
        }
        // Whoever reads the token is let into the API server.
        write(&path, &access.to_kubeconfig(), 0o600)?;
        info!(path = %path.display(), "wrote the kubeconfig");
        self.access = Some(access);
        Ok(())
    }

    fn stamps(&self) -> Result<BTreeMap<String, Stamp>, InstallError> {
        let folder = &self.settings.net_dir;
        let unread = || failed(format!("cannot read {}", folder.display()));
        let mut stamps = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(unread())? {
            let entry = entry.map_err(unread())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Through links, which may be dangling, as may files that were just removed.
            let Some(meta) = fs::metadata(entry.path()).ok().filter(|meta| meta.is_file() && meta.len() <= CONF_MAX) else { continue };
            if list::is_conf(&name) {
                stamps.insert(name, (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
            }
        }
        Ok(stamps)
    }

    fn is_inserted(&self, name: &str) -> bool {
        let text = fs::read_to_string(self.settings.net_dir.join(name)).unwrap_or_default();
        matches!(list::insert(name, &text, &self.plugin), Ok(Edit::Keep))
    }

    fn edit(&self, name: &str, edit: impl Fn(&str, &str) -> Result<Edit, list::InvalidList>) -> Result<(), InstallError> {
        let folder = &self.settings.net_dir;
        let path = folder.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(format!("cannot read {}", path.display()))(error)),
        };
        match edit(name, &text) {
            Ok(Edit::Keep) => Ok(()),
            Ok(Edit::Write { name, text, replaces }) => {
                write(&folder.join(&name), &text, 0o644)?;
                if let Some(old) = replaces {
                    fs::remove_file(folder.join(&old)).map_err(failed(format!("cannot remove {old}")))?;
                }
                info!(file = name, "wrote a network configuration");
                Ok(())
            }
            // Somebody may be in the middle of writing it: it is looked at again when it changes.
            Err(error) => {
                warn!(file = name, %error, "left alone");
                Ok(())
            }
        }
    }
}

/// Whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), InstallError> {
    let temporary = beside(path);
    // The mode first: nobody may open the file before it has it.
    let _ = fs::remove_file(&temporary);
    let open = {
        use std::os::unix::fs::OpenOptionsExt as _;
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)
    };
    open.and_then(|mut file| {
        io::Write::write_all(&mut file, text.as_bytes())?;
        // Again, without the process's mask.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })
    .map_err(failed(format!("cannot write {}", path.display())))
}

/// The temporary name: no runtime takes a file with this ending for a configuration.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".install");
    PathBuf::from(name)
}

fn failed(context: impl Into<String>) -> impl FnOnce(io::Error) -> InstallError {
    let context = context.into();
    move |source| InstallError { context, source }
}

/// The template may name secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("bin_dir", &self.bin_dir).field("net_dir", &self.net_dir).finish_non_exhaustive()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.reason)
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests;
