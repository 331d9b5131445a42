//! The multilangd daemon as a library.
//!
//! Floors, from the ground up; a module uses only what lies below it:
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`types`], [`backoff`] |
//! | 1 | [`clock`], [`checkpoint`], [`direct`], [`record`], [`config`] |
//! | 2 | [`progress`], [`lease`], [`stream`], [`child`], [`host`], [`poison`] |
//! | 3 | [`retrieval`], [`coordinator`] |
//! | 4 | [`consumer`] |
//! | 5 | [`worker`] |
//! | 6 | [`app`] |
//! | 7 | `local` (feature `local`), [`cli`] |

pub mod app;
pub mod backoff;
pub mod checkpoint;
pub mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod coordinator;
pub mod direct;
pub mod host;
pub mod lease;
#[cfg(feature = "local")]
pub mod local;
pub mod poison;
pub mod progress;
pub mod record;
pub mod retrieval;
pub mod stream;
pub mod types;
pub mod worker;
