//! Both ends of a connection on real sockets; in the tests of the protocol the other end is OpenSSL.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod adoption;
mod ca;
mod contract;
mod from_openssl;
mod openssl;
mod requests;
mod rotation;
mod to_openssl;
