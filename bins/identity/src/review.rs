//! Tokens that the API server of Kubernetes checks.

use std::fmt;

use crate::token::{Authenticate, InvalidToken, ServiceAccount};

/// The audience of the tokens that proxies are given.
pub const AUDIENCE: &str = "identity.l5d.io";

/// Asks whoever issued a token about it: on Kubernetes, a TokenReview.
pub trait Review: Send + Sync + 'static {
    /// Whose the token is, and whether it is meant for one of the audiences; without audiences, for the issuer itself.
    ///
    /// # Errors
    /// The question could not be asked, in words. A token that is not valid is no error.
    fn review(&self, token: &str, audiences: &[&str]) -> impl Future<Output = Result<Reviewed, String>> + Send;
}

/// What was said of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // Whoever implements `Review` makes one.
pub struct Reviewed {
    /// It is valid.
    pub is_authenticated: bool,
    /// `system:serviceaccount:<namespace>:<name>` for service accounts.
    pub username: String,
    /// Those of the audiences asked for that it is meant for.
    pub audiences: Vec<String>,
    /// Why it is not valid or could not be checked; may be empty.
    pub error: String,
}

/// Proves who asks by reviews.
#[derive(Clone)]
pub struct Reviews<R>(R);

impl<R> Reviews<R> {
    /// Asks `reviewer` about every token.
    pub const fn new(reviewer: R) -> Self {
        Self(reviewer)
    }
}

impl<R: Review> Authenticate for Reviews<R> {
    async fn authenticate(&self, token: &[u8]) -> Result<ServiceAccount, InvalidToken> {
        let token = std::str::from_utf8(token).map_err(|_| InvalidToken::Malformed)?.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken::Malformed);
        }
        let mut reviewed = self.0.review(token, &[AUDIENCE]).await.map_err(InvalidToken::Unavailable)?;
        // API servers from before audiences say so, and are asked again without.
        let is_old = reviewed.error.contains("token audiences");
        if is_old {
            reviewed = self.0.review(token, &[]).await.map_err(InvalidToken::Unavailable)?;
        }
        let is_meant_for_us = is_old || reviewed.audiences.iter().any(|audience| audience == AUDIENCE);
        // A server that knows no audiences answers without any, whatever was asked: then the token was not checked for us.
        if !reviewed.is_authenticated || !is_meant_for_us {
            return Err(InvalidToken::NotAuthenticated);
        }
        account(&reviewed.username).ok_or(InvalidToken::Malformed)
    }
}

/// The service account of a user's name: exactly `system:serviceaccount:<namespace>:<name>`, both of them labels. An account with a dot in its name
/// has no identity, for the dot would move a part of its name into the namespace's place.
#[must_use]
pub fn account(username: &str) -> Option<ServiceAccount> {
    match *username.split(':').collect::<Vec<_>>() {
        ["system", "serviceaccount", namespace, name] => ServiceAccount::new(namespace, name),
        _ => None,
    }
}

impl<R> fmt::Debug for Reviews<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// Answers from a list, and notes what it was asked.
    /// Answers that are left, and how many bytes each question had.
    type Said = (Vec<Result<Reviewed, String>>, Vec<usize>);

    struct Script(Mutex<Said>);

    impl Review for &'static Script {
        async fn review(&self, token: &str, audiences: &[&str]) -> Result<Reviewed, String> {
            assert_eq!(token, "abc");
            let mut script = self.0.lock().unwrap();
            script.1.push(audiences.len());
            script.0.remove(0)
        }
    }

    fn web(audiences: &[&str]) -> Reviewed {
        let audiences = audiences.iter().map(|a| (*a).to_owned()).collect();
        Reviewed { is_authenticated: true, username: "system:serviceaccount:emojivoto:web".into(), audiences, error: String::new() }
    }

    async fn asked(answers: Vec<Result<Reviewed, String>>) -> (Result<ServiceAccount, InvalidToken>, Vec<usize>) {
        let script: &'static Script = Box::leak(Box::new(Script(Mutex::new((answers, Vec::new())))));
        let answer = Reviews::new(script).authenticate(b"abc\n").await;
        let asked = script.0.lock().unwrap().1.clone();
        (answer, asked)
    }

    #[tokio::test]
    async fn a_token_for_us_proves_its_account_and_no_other_does() {
        let account = ServiceAccount::new("emojivoto", "web").unwrap();
        assert_eq!(asked(vec![Ok(web(&[AUDIENCE]))]).await, (Ok(account.clone()), vec![1]));
        assert_eq!(asked(vec![Ok(web(&[]))]).await.0, Err(InvalidToken::NotAuthenticated));
        assert_eq!(asked(vec![Ok(web(&["vault"]))]).await.0, Err(InvalidToken::NotAuthenticated));
        assert_eq!(asked(vec![Ok(Reviewed { is_authenticated: false, ..web(&[AUDIENCE]) })]).await.0, Err(InvalidToken::NotAuthenticated));
        assert_eq!(asked(vec![Err("down".into())]).await.0, Err(InvalidToken::Unavailable("down".into())));
        let person = Reviewed { username: "jane".into(), ..web(&[AUDIENCE]) };
        assert_eq!(asked(vec![Ok(person)]).await.0, Err(InvalidToken::Malformed));
        // An old server is asked again without audiences.
        let old = Reviewed { error: "token audiences [] is invalid for the target audiences".into(), ..Reviewed::default() };
        assert_eq!(asked(vec![Ok(old), Ok(web(&[]))]).await, (Ok(account), vec![1, 0]));
    }

    #[tokio::test]
    async fn bytes_that_are_no_token_are_not_even_asked_about() {
        let script: &'static Script = Box::leak(Box::new(Script(Mutex::new((Vec::new(), Vec::new())))));
        for token in [&b"\xff"[..], b" ", b"a b", b"a\nb", b"a\0"] {
            assert_eq!(Reviews::new(script).authenticate(token).await, Err(InvalidToken::Malformed));
        }
    }

    proptest! {
        #[test]
        fn accounts_are_those_of_the_form_and_nothing_else(namespace in "[a-z.:]{1,6}", name in "[a-z.:]{1,6}") {
            let found = account(&format!("system:serviceaccount:{namespace}:{name}"));
            let is_plain = !namespace.contains(['.', ':']) && !name.contains(['.', ':']);
            prop_assert_eq!(found.is_some(), is_plain);
        }
    }
}
