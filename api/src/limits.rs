//! How much anybody may ask: requests a second, by key or by address.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use axum::extract::{ConnectInfo, Request};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::auth::Principal;
use crate::problem::Problem;

/// Whom requests are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Key(String),
    Address(IpAddr),
    Unknown,
}

/// Counts requests.
#[derive(Debug)]
pub(crate) struct Limits {
    rate: Option<DefaultKeyedRateLimiter<Who>>,
}

impl Limits {
    /// So many requests a second; bursts may take two seconds' worth at once.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        let rate = per_second.and_then(NonZeroU32::new).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self { rate }
    }

    /// Counts a request, or says when to come back.
    pub(crate) fn take(&self, principal: &Principal, request: &Request) -> Result<(), Problem> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        let who = match &principal.key {
            Some(key) => Who::Key(key.clone()),
            None => request
                .extensions()
                .get::<ConnectInfo<SocketAddr>>()
                .map_or(Who::Unknown, |peer| Who::Address(peer.0.ip())),
        };
        rate.check_key(&who).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::too_many(
                "more requests a second than this server takes from one client",
                wait,
            )
        })?;
        // What is known of clients that have not come for a while is forgotten now and then.
        if rate.len() > 10_000 {
            rate.retain_recent();
        }
        Ok(())
    }
}
