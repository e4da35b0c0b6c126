//! Routes of a protobuf file: as much of its language as services need.

use serde_json::{Value, json};

use super::escape;

/// One route for each method of each service.
///
/// # Errors
/// The text is no such file.
pub(super) fn routes(text: &str) -> Result<Vec<Value>, String> {
    let words = words(text)?;
    let mut at = words.iter().map(String::as_str).peekable();
    let (mut package, mut routes) = (String::new(), Vec::new());
    while let Some(word) = at.next() {
        match word {
            "package" => package = at.next().unwrap_or_default().to_owned(),
            "service" => {
                let name = at.next().ok_or("a service has no name")?;
                let full = if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") };
                if at.next() != Some("{") {
                    return Err(format!("service {name}: `{{` is missing"));
                }
                service(&full, &mut at, &mut routes)?;
            }
            // Messages may have fields of any name.
            "{" => skip(&mut at)?,
            _ => {}
        }
    }
    Ok(routes)
}

fn service<'a>(name: &str, at: &mut impl Iterator<Item = &'a str>, routes: &mut Vec<Value>) -> Result<(), String> {
    while let Some(word) = at.next() {
        match word {
            "}" => return Ok(()),
            "rpc" => routes.push(rpc(name, at)?),
            "{" => skip(at)?,
            _ => {}
        }
    }
    Err(format!("service {name} has no end"))
}

fn rpc<'a>(service: &str, at: &mut impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let name = at.next().ok_or_else(|| format!("service {service}: a method has no name"))?;
    let mut route = json!({"name": name, "condition": {"method": "POST", "pathRegex": escape(&format!("/{service}/{name}"))}});
    let (mut depth, mut before, mut option) = (0_usize, "", "");
    for word in at {
        match word {
            ";" if depth == 0 => return Ok(route),
            "{" => depth += 1,
            "}" if depth <= 1 => return Ok(route),
            "}" => depth -= 1,
            "IDEMPOTENT" | "NO_SIDE_EFFECTS" if before == "=" && option == "idempotency_level" => route["isRetryable"] = json!(true),
            "=" => option = before,
            _ => {}
        }
        before = word;
    }
    Err(format!("method {name} of service {service} has no end"))
}

/// Goes past the end of what has begun.
fn skip<'a>(at: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut depth = 1_usize;
    for word in at {
        match word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Err("a `}` is missing".to_owned())
}

/// Names, signs, and texts as one word each; comments are left out.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or("a comment has no end")?.1;
        } else if c == '"' || c == '\'' {
            let mut escaped = false;
            let end = rest[1..].find(|next| {
                let ends = next == c && !escaped;
                escaped = next == '\\' && !escaped;
                ends
            });
            rest = &rest[end.ok_or("a text has no end")? + 2..];
            words.push("\"\"".to_owned());
        } else if c.is_alphanumeric() || c == '_' || c == '.' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        } else {
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_method_of_each_service_is_a_route() {
        let text = r#"
syntax = "proto3"; // service No { rpc No(A) returns (B); }
package emojivoto.v1;
/* service Neither { } */
message Odd { string service = 1; string rpc = 2; message Inner { string package = 1; } }
service EmojiService {
  option deprecated = true;
  rpc ListAll (ListAllRequest) returns (stream ListAllResponse);
  rpc FindByShortcode (A) returns (B) { option idempotency_level = NO_SIDE_EFFECTS; option (google.api.http) = { get: "/}" }; }
  rpc Set (A) returns (B) { option idempotency_level = IDEMPOTENT; }
  rpc Drop (A) returns (B) { option idempotency_level = IDEMPOTENCY_UNKNOWN; }
}
service Other { rpc Get (A) returns (B) {} }
"#;
        let found: Vec<_> = routes(text)
            .unwrap()
            .iter()
            .map(|route| {
                format!(
                    "{} {} {}",
                    route["name"].as_str().unwrap(),
                    route["condition"]["pathRegex"].as_str().unwrap(),
                    route["isRetryable"]
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                r"ListAll /emojivoto\.v1\.EmojiService/ListAll null",
                r"FindByShortcode /emojivoto\.v1\.EmojiService/FindByShortcode true",
                r"Set /emojivoto\.v1\.EmojiService/Set true",
                r"Drop /emojivoto\.v1\.EmojiService/Drop null",
                r"Get /emojivoto\.v1\.Other/Get null",
            ]
        );
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for text in ["service", "service A", "service A {", "service A { rpc B", "/* x", "option a = \"x", "message A {"] {
            assert!(routes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(service|rpc|option|idempotency_level|[{}();=\"'/*a\\\\ \n\u{e9}]){0,40}") {
            let _ = routes(&text);
        }
    }
}
