//! The page, embedded in the program.

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
};

use crate::http1::{Answer, answer};

const SHELL: &str = include_str!("../../assets/index.html");
const SCRIPT: &str = include_str!("../../assets/index_bundle.js");
const STYLE: &str = include_str!("../../assets/index.css");
const ICON: &str = include_str!("../../assets/favicon.svg");

/// Stands in the shell for the message of the day.
const MESSAGE_MARK: &str = "<!-- message of the day -->";

/// The page shell with its message of the day, and what it loads.
pub(super) struct Page {
    shell: Bytes,
}

impl Page {
    pub(super) fn new(message: Option<&str>) -> Self {
        let message = message.map(|message| format!("<p class=\"motd\">{}</p>", escape(message))).unwrap_or_default();
        Self { shell: Bytes::from(SHELL.replace(MESSAGE_MARK, &message)) }
    }

    /// `None` for a path that is no part of the page.
    pub(super) fn answer(&self, path: &str) -> Option<Answer> {
        let (content_type, body) = match path {
            "/" | "/leaderboard" => ("text/html; charset=utf-8", self.shell.clone()),
            "/js" | "/dist/index_bundle.js" => ("text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes())),
            "/dist/index.css" => ("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes())),
            "/img/favicon.ico" => ("image/svg+xml", Bytes::from_static(ICON.as_bytes())),
            _ => return None,
        };
        let mut answer = answer(StatusCode::OK, content_type, body);
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(answer)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_the_day_is_text_and_not_markup() {
        let page = Page::new(Some("<b>R&D</b> votes"));
        let shell = std::str::from_utf8(&page.shell).unwrap();
        assert!(shell.contains("&lt;b&gt;R&amp;D&lt;/b&gt; votes"));
    }

    #[test]
    fn the_page_loads_only_what_is_served() {
        let page = Page::new(None);
        assert!(SHELL.contains(MESSAGE_MARK));
        for loaded in SHELL.split(['"']).filter(|text| text.starts_with("/dist/") || text.starts_with("/img/")) {
            assert!(page.answer(loaded).is_some(), "{loaded}");
        }
    }
}
