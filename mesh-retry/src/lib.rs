#![doc = include_str!("../README.md")]

pub mod budget;
pub mod conditions;
mod params;

pub use budget::Budget;
pub use conditions::{CodeSet, Conditions, StatusRanges};
pub use params::{Params, Timeouts};
