//! Processes of a running mesh, found by the replica that they belong to.

use std::fs;

use meshkit_e2e::Demo;

/// The process of a replica whose command line holds this word: `proxy`, or its application's `demo-app`.
pub(crate) fn process_of(demo: &Demo, pod: &str, word: &str) -> Option<u32> {
    let ip = demo.ip(pod).to_string();
    let is_its = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
        // The whole address, and not the beginning of another.
        environment.lines().any(|line| line.split(['=', ',']).skip(1).any(|value| value == ip || value.starts_with(&format!("{ip}:"))))
    };
    demo.processes(&[word]).into_iter().find(is_its)
}

/// What a process was started as; nothing once it has ended.
pub(crate) fn command_line(id: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| !line.is_empty())
}
