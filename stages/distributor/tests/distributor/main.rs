//! The distributor from the outside: real clients over loopback on one side, a log that does as told on the other.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like the tests they help")]

mod connections;
mod grpc;
mod http;
mod limits;
mod support;
