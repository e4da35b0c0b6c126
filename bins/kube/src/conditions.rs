//! What is said of an object in its status.

use std::time::SystemTime;

use meshkit_manifest::meta::Condition;
use serde_json::{Value, json};

use crate::{Client, Failure, Resource, lease::time};

/// The conditions with these said. `None` if they say so already: then there is nothing to write, and a status writer that is told of its own writes
/// comes to rest. The time of a condition changes only with its status. Conditions of other types stay.
#[must_use]
pub fn said(before: &[Condition], wanted: &[Condition], date: SystemTime) -> Option<Vec<Condition>> {
    let mut after = before.to_vec();
    let mut is_new = false;
    for wanted in wanted {
        let known = after.iter_mut().find(|known| known.kind == wanted.kind);
        let since = known.as_ref().filter(|known| known.status == wanted.status).and_then(|known| known.last_transition_time.clone());
        let condition = Condition { last_transition_time: Some(since.unwrap_or_else(|| time(date))), ..wanted.clone() };
        match known {
            Some(known) if *known == condition => {}
            Some(known) => (*known, is_new) = (condition, true),
            None => {
                after.push(condition);
                is_new = true;
            }
        }
    }
    is_new.then_some(after)
}

impl Client {
    /// Says conditions of an object whose status is a list of them, unless it has them.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn say(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        before: &[Condition],
        wanted: &[Condition],
        date: SystemTime,
        manager: &str,
    ) -> Result<(), Failure> {
        let Some(conditions) = said(before, wanted, date) else { return Ok(()) };
        let patch: Value = json!({"status": {"conditions": conditions}});
        self.merge_status(resource, namespace, name, &patch, manager).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn condition() -> impl Strategy<Value = Condition> {
        ("[AB]", "True|False", "[xy]").prop_map(|(kind, status, reason)| Condition { kind, status, reason, ..Condition::default() })
    }

    proptest! {
        #[test]
        fn what_was_said_is_not_said_again(steps in proptest::collection::vec((condition(), 0u64..100_000), 1..20)) {
            let (mut now, mut conditions) = (SystemTime::UNIX_EPOCH, Vec::new());
            for (wanted, pause) in steps {
                now += Duration::from_secs(pause);
                let before: Vec<Condition> = conditions;
                let known = before.iter().find(|c| c.kind == wanted.kind).cloned();
                conditions = said(&before, std::slice::from_ref(&wanted), now).unwrap_or(before);
                let found = conditions.iter().find(|c| c.kind == wanted.kind).unwrap();
                prop_assert_eq!((&found.status, &found.reason), (&wanted.status, &wanted.reason));
                let since = known.filter(|k| k.status == wanted.status).map_or(Some(time(now)), |k| k.last_transition_time);
                prop_assert_eq!(&found.last_transition_time, &since);
                prop_assert_eq!(said(&conditions, &[wanted], now + Duration::from_secs(9)), None);
            }
        }
    }
}
