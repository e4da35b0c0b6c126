use std::sync::Arc;

use linkerd2_proxy_api::outbound as proto;
use meshkit_core::Backoff;

use super::{Accrual, Backend, Dispatch, Hints, Load};
use crate::{
    Invalid,
    destination::{endpoint, endpoint_to},
    meta::{meta, meta_to},
    net,
};

/// Reads a backend. What breaks an endpoint's circuit is said once for all backends of a protocol.
pub(super) fn backend(backend: Option<proto::Backend>, accrual: Option<Accrual>) -> Result<Arc<Backend>, Invalid> {
    use proto::backend::{Kind, balance_p2c, endpoint_discovery};
    let backend = backend.ok_or_else(|| Invalid::missing("backend"))?;
    let dispatch = match backend.kind {
        None => Dispatch::Fail,
        Some(Kind::Forward(addr)) => Dispatch::Forward(endpoint(addr, &Default::default()).map_err(|e| e.within("forward"))?),
        Some(Kind::Balancer(balancer)) => {
            let kind = balancer.discovery.and_then(|d| d.kind).ok_or_else(|| Invalid::missing("balancer.discovery"))?;
            let endpoint_discovery::Kind::Dst(get) = kind;
            let time = |d, field: &str| net::limit(d, field);
            let defaults = Load::default();
            let load = match balancer.load.ok_or_else(|| Invalid::missing("balancer.load"))? {
                balance_p2c::Load::PeakEwma(ewma) => Load {
                    default_rtt: time(ewma.default_rtt, "default_rtt")?.unwrap_or(defaults.default_rtt),
                    decay: time(ewma.decay, "decay")?.unwrap_or(defaults.decay),
                    penalty: None,
                },
                balance_p2c::Load::PenaltyPeakEwma(ewma) => Load {
                    default_rtt: time(ewma.default_rtt, "default_rtt")?.unwrap_or(defaults.default_rtt),
                    decay: time(ewma.decay, "decay")?.unwrap_or(defaults.decay),
                    penalty: Some((
                        time(ewma.penalty, "penalty")?.unwrap_or(std::time::Duration::from_secs(5)),
                        time(ewma.max_retry_after, "max_retry_after")?.unwrap_or(std::time::Duration::from_secs(300)),
                    )),
                },
            };
            Dispatch::Balance { path: get.path, load }
        }
    };
    Ok(Arc::new(Backend { meta: meta(backend.metadata)?, dispatch, accrual }))
}

pub(super) fn backend_to(backend: &Backend) -> proto::Backend {
    use proto::backend::{BalanceP2c, EndpointDiscovery, Kind, balance_p2c, endpoint_discovery};
    let kind = match &backend.dispatch {
        Dispatch::Fail => None,
        Dispatch::Forward(endpoint) => Some(Kind::Forward(endpoint_to(endpoint, &Default::default()))),
        Dispatch::Balance { path, load } => {
            let (default_rtt, decay) = (Some(net::duration_to(load.default_rtt)), Some(net::duration_to(load.decay)));
            let load = match load.penalty {
                None => balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma { default_rtt, decay }),
                Some((penalty, max_retry_after)) => balance_p2c::Load::PenaltyPeakEwma(balance_p2c::PenaltyPeakEwma {
                    default_rtt,
                    decay,
                    penalty: Some(net::duration_to(penalty)),
                    max_retry_after: Some(net::duration_to(max_retry_after)),
                    penalty_decay: Some(net::duration_to(std::time::Duration::from_secs(10))),
                }),
            };
            let dst = endpoint_discovery::DestinationGet { path: path.clone() };
            let discovery = EndpointDiscovery { kind: Some(endpoint_discovery::Kind::Dst(dst)) };
            Some(Kind::Balancer(BalanceP2c { discovery: Some(discovery), load: Some(load) }))
        }
    };
    // The proxy's own settings rule its queues; these are what the compatible system sends.
    let queue = proto::Queue { capacity: 100, failfast_timeout: Some(net::duration_to(std::time::Duration::from_secs(3))) };
    proto::Backend { metadata: Some(meta_to(&backend.meta)), queue: Some(queue), kind }
}

pub(super) fn accrual(accrual: Option<proto::FailureAccrual>) -> Result<Option<Accrual>, Invalid> {
    use proto::failure_accrual::Kind;
    let Some(kind) = accrual.and_then(|a| a.kind) else { return Ok(None) };
    Ok(Some(match kind {
        Kind::ConsecutiveFailures(c) => Accrual::Consecutive {
            max_failures: c.max_failures,
            backoff: backoff(c.backoff)?.ok_or_else(|| Invalid::missing("failure_accrual.backoff"))?,
        },
        Kind::Unified(u) => Accrual::Unified {
            success_rate: Some(u.success_rate_threshold)
                .filter(|rate| (0.0..=1.0).contains(rate))
                .ok_or_else(|| Invalid::new("failure_accrual.success_rate_threshold", "is not from 0 to 1"))?,
            window: net::limit(u.decay, "failure_accrual.decay")?.unwrap_or(std::time::Duration::from_secs(10)),
            min_requests: u.min_requests,
            max_failures: u.max_consecutive_failures,
            hints: match u.backoff.as_ref().is_some_and(|backoff| backoff.respect_retry_after_hint) {
                true => Hints::Respected,
                false => Hints::Ignored,
            },
            backoff: backoff(u.backoff)?.ok_or_else(|| Invalid::missing("failure_accrual.backoff"))?,
        },
    }))
}

pub(super) fn accrual_to(accrual: Option<&Accrual>) -> Option<proto::FailureAccrual> {
    use proto::failure_accrual::{ConsecutiveFailures, Kind, Unified};
    let kind = match accrual? {
        Accrual::Consecutive { max_failures, backoff } => {
            Kind::ConsecutiveFailures(ConsecutiveFailures { max_failures: *max_failures, backoff: Some(backoff_to(backoff)) })
        }
        Accrual::Unified { success_rate, window, min_requests, max_failures, backoff, hints } => Kind::Unified(Unified {
            success_rate_threshold: *success_rate,
            decay: Some(net::duration_to(*window)),
            min_requests: *min_requests,
            max_consecutive_failures: *max_failures,
            backoff: Some(proto::ExponentialBackoff { respect_retry_after_hint: *hints == Hints::Respected, ..backoff_to(backoff) }),
        }),
    };
    Some(proto::FailureAccrual { ejection: None, kind: Some(kind) })
}

pub(super) fn backoff(backoff: Option<proto::ExponentialBackoff>) -> Result<Option<Backoff>, Invalid> {
    let Some(backoff) = backoff else { return Ok(None) };
    let time = |d, field: &str| net::duration(d, field)?.ok_or_else(|| Invalid::missing(field));
    let (min, max) = (time(backoff.min_backoff, "min_backoff")?, time(backoff.max_backoff, "max_backoff")?);
    Backoff::new(min, max, f64::from(backoff.jitter_ratio)).map(Some).map_err(|e| Invalid::new("backoff", e))
}

pub(super) fn backoff_to(backoff: &Backoff) -> proto::ExponentialBackoff {
    proto::ExponentialBackoff {
        min_backoff: Some(net::duration_to(backoff.min())),
        max_backoff: Some(net::duration_to(backoff.max())),
        jitter_ratio: backoff.jitter() as f32,
        respect_retry_after_hint: false,
    }
}
