//! Routes of an OpenAPI file.

use meshkit_injector::documents;
use serde_json::{Value, json};

use super::escape;

/// In this order they become routes.
const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// One route for each method of each path.
///
/// # Errors
/// The text is no such file.
pub(super) fn routes(text: &str) -> Result<Vec<Value>, String> {
    let documents = documents::read(text).map_err(|error| error.to_string())?;
    let document = documents.first().ok_or("it is empty")?;
    let paths = document["paths"].as_object().ok_or("it has no paths")?;
    let base = document["basePath"].as_str().unwrap_or_default().trim_end_matches('/');
    let mut sorted: Vec<_> = paths.iter().collect();
    sorted.sort_by_key(|(path, _)| *path);
    let mut routes = Vec::new();
    for (path, item) in sorted {
        let path = format!("{base}/{}", path.trim_start_matches('/'));
        for method in METHODS {
            if item[method].is_object() {
                routes.push(route(&path, &method.to_uppercase(), &item[method])?);
            }
        }
    }
    Ok(routes)
}

fn route(path: &str, method: &str, operation: &Value) -> Result<Value, String> {
    let name = format!("{method} {path}");
    let mut route = json!({"name": name, "condition": {"method": method, "pathRegex": expression(path)}});
    let classes: Vec<_> = operation["responses"].as_object().into_iter().flatten().filter_map(|(status, _)| class(status)).collect();
    if !classes.is_empty() {
        route["responseClasses"] = json!(classes);
    }
    if operation["x-linkerd-retryable"].as_bool() == Some(true) {
        route["isRetryable"] = json!(true);
    }
    match &operation["x-linkerd-timeout"] {
        Value::Null => {}
        Value::String(timeout) if timeout.parse::<meshkit_manifest::GoDuration>().is_ok() => route["timeout"] = json!(timeout),
        other => return Err(format!("{name}: x-linkerd-timeout: {other} is no time (as 300ms)")),
    }
    Ok(route)
}

/// `default` says nothing of a status.
fn class(status: &str) -> Option<Value> {
    let status: u16 = status.parse().ok()?;
    let mut class = json!({"condition": {"status": {"min": status, "max": status}}});
    if status >= 500 {
        class["isFailure"] = json!(true);
    }
    Some(class)
}

/// What paths look like: a parameter is anything up to the next slash.
fn expression(path: &str) -> String {
    let (mut expression, mut rest) = (String::new(), path);
    while let Some((before, parameter)) = rest.split_once('{') {
        let Some((_, behind)) = parameter.split_once('}') else {
            break;
        };
        expression += &escape(before);
        expression += "[^/]*";
        rest = behind;
    }
    expression + &escape(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_of_each_path_is_a_route() {
        let text = r#"
swagger: "2.0"
basePath: /api/
paths:
  /books/{id}.json:
    put:
      x-linkerd-retryable: true
      x-linkerd-timeout: 300ms
      responses: {"200": {}, "503": {}, default: {}}
    get: {responses: {}}
  /authors: {get: {}, parameters: []}
"#;
        let routes = routes(text).unwrap();
        assert_eq!(
            Value::from(routes),
            json!([
                {"name": "GET /api/authors", "condition": {"method": "GET", "pathRegex": "/api/authors"}},
                {"name": "GET /api/books/{id}.json", "condition": {"method": "GET", "pathRegex": r"/api/books/[^/]*\.json"}},
                {
                    "name": "PUT /api/books/{id}.json",
                    "condition": {"method": "PUT", "pathRegex": r"/api/books/[^/]*\.json"},
                    "isRetryable": true,
                    "timeout": "300ms",
                    "responseClasses": [
                        {"condition": {"status": {"min": 200, "max": 200}}},
                        {"condition": {"status": {"min": 503, "max": 503}}, "isFailure": true},
                    ],
                },
            ])
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "[1]", "swagger: '2.0'", "{", "paths: {/a: {get: {x-linkerd-timeout: soon}}}"] {
            assert!(routes(text).is_err(), "{text}");
        }
        assert_eq!(expression("/a{b"), r"/a\{b");
    }
}
