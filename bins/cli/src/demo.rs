//! `mesh demo`: the emoji voting application in a mesh on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, interval};

use crate::{
    run,
    stat::{self, summary::Summary},
};

/// How often the rows are shown.
const REFRESH: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Takes the manifests; a new folder below the temporary one unless given.
    pub dir: Option<PathBuf>,
    /// How long to run; until Ctrl-C unless given.
    pub length: Option<Duration>,
    /// What is printed.
    pub output: Output,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Rows, while it runs.
    Rows,
    /// One JSON object, at the end.
    Json,
}

/// The manifests as one text, for a cluster that has a mesh or is to have one.
#[must_use]
pub fn manifests() -> String {
    let files: Vec<String> = meshkit_demo::manifests("mesh").into_iter().map(|(_, text)| text).collect();
    files.join("---\n")
}

/// Runs the demo.
///
/// # Errors
/// Everything that is wrong, a line each.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>) -> Result<(), Vec<String>> {
    let dir = match &settings.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join("mesh-demo"),
    };
    write_manifests(&dir).map_err(|e| vec![format!("{}: {e}", dir.display())])?;
    let running = run::start(&dir, &dir.join(crate::STATE_DIR)).await?;
    let begun = Instant::now();
    let description = running.description();
    // What a person reads goes to stderr when the output is for a program.
    let say = |line: String| match settings.output {
        Output::Rows => println!("{line}"),
        Output::Json => eprintln!("{line}"),
    };
    say(format!("manifests in {}: edit them while it runs", dir.display()));
    say(format!(
        "{} replicas, each with its proxy; logs in {}",
        description.replicas.len(),
        dir.join(crate::STATE_DIR).join("logs").display()
    ));
    for url in &description.urls {
        say(format!("open {url}"));
    }

    let mut stop = std::pin::pin!(stop);
    let end = async {
        match settings.length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    let mut refresh = interval(REFRESH);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut end => break,
            _ = refresh.tick() => {
                if settings.output == Output::Rows {
                    let summary = Summary::of(&stat::scrape(&running.description()).await, begun.elapsed().as_secs_f64());
                    if !summary.edges.is_empty() {
                        println!("\n{summary}");
                    }
                }
            }
        }
    }
    let summary = Summary::of(&stat::scrape(&running.description()).await, begun.elapsed().as_secs_f64());
    running.stop().await;
    match settings.output {
        Output::Rows => println!("\n{summary}"),
        Output::Json => println!("{}", serde_json::to_string(&summary).map_err(|e| vec![e.to_string()])?),
    }
    Ok(())
}

/// Files that are there already are left as they are: somebody may have edited them.
fn write_manifests(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, text) in meshkit_demo::manifests("mesh") {
        let path = dir.join(name);
        if !path.exists() {
            fs::write(path, text)?;
        }
    }
    Ok(())
}
