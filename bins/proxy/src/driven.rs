//! A balancer with the task that drives it.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

/// A balancer and the task that drives it, which ends with it.
#[derive(Debug)]
pub(crate) struct Driven<B> {
    balance: B,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl<B> Driven<B> {
    pub(crate) fn new(balance: B, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { balance, driver: Mutex::new(Some(tokio::spawn(driver))) }
    }

    pub(crate) const fn balance(&self) -> &B {
        &self.balance
    }
}

impl<B> Drop for Driven<B> {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            driver.abort();
        }
    }
}
