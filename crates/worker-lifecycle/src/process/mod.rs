//! Workers and the process that they run in: signals, probes, the service manager.

#[cfg(feature = "signal")]
mod exit_deadline;
#[cfg(feature = "probe")]
mod json;
#[cfg(feature = "probe")]
pub(crate) mod probe;
#[cfg(feature = "signal")]
pub(crate) mod signals;
#[cfg(feature = "systemd")]
pub(crate) mod systemd;
